package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

const data = `{"Id":"sha256:0123456789abcdef","Name":"a/b c","Null":null,"Yes":true,"No":false,"Size":842,"Ratio":1.5,"Big":1e+30,
"Tags":["x:1","y:2","<z>"],"None":[],"Config":{"Env":["A=<&>","B=2"],"Labels":{"k":"v","e":"é日本"},"Cmd":null,"Deep":{"er":[1,"two",null]}},"Empty":""}`

type row struct{ id, name, tag string }

func (r row) ID() string   { return r.id }
func (r row) Name() string { return r.name }
func (r row) Tag() string  { return r.tag }

var functions = template.FuncMap{
	"json": func(v interface{}) string {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			panic(err)
		}
		return strings.TrimSuffix(b.String(), "\n")
	},
	"split": strings.Split,
	"join":  strings.Join,
	"title": strings.Title,
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
	"pad": func(s string, before, after int) string {
		if s == "" {
			return s
		}
		return strings.Repeat(" ", before) + s + strings.Repeat(" ", after)
	},
	"truncate": func(s string, n int) string {
		if len(s) < n {
			return s
		}
		return s[:n]
	},
}

// Evaluated over data without types; with a leading '!' a missing key is an error.
var rawTemplates = []string{
	`plain`, ``, `{{.}}`, `{{.Id}}`, `{{ .Id }}`, "{{\n.Id\n}}", `{{.Nope}}`, `!{{.Nope}}`, `{{.Nope.More}}`, `!{{.Nope.More}}`, `!{{.Config.Nope}}`, "!a\nb {{.Nope}}",
	`{{.Null}}`, `{{.Null.x}}`, `!{{.Config.Cmd.x}}`, `{{.Id.x}}`, `{{.Size.x}}`, `{{.Tags.x}}`, `{{.Size}} {{.Ratio}} {{.Big}} {{.Yes}}`, `{{.Config}}`, `{{.Tags}}`,
	`{{json .}}`, `{{json .Config}}`, `{{json .Null}}`, `{{json .Nope}}`, `{{json .Big}}`, `{{json .Config.Labels.e}}`, `{{.Config.Env}}`, `{{with .Config}}{{.Env}}{{end}}`, `{{with .Nope}}a{{else}}b{{end}}`,
	`{{if .Yes}}y{{end}}{{if .No}}n{{else if .Tags}}t{{else}}f{{end}}`, `{{if .None}}a{{else}}b{{end}}`, `{{if .Size}}a{{end}}`, `{{if .Null}}a{{else}}b{{end}}`, `{{if not .Empty}}a{{end}}`,
	`{{range .Tags}}{{.}},{{end}}`, `{{range $i, $t := .Tags}}{{$i}}={{$t}} {{end}}`, `{{range $t := .Tags}}{{$t}}{{end}}`, `{{range $k, $v := .Config}}{{$k}}:{{$v}};{{end}}`, `{{range .None}}a{{else}}none{{end}}`, `{{range .Null}}a{{else}}none{{end}}`, `{{range .Nope}}a{{else}}none{{end}}`,
	`{{range .Id}}{{end}}`, `{{range .Size}}{{end}}`, `{{range .Yes}}x{{end}}`, `{{range 3}}x{{end}}`, `{{range .Tags}}{{if eq . "y:2"}}{{break}}{{end}}{{.}}{{end}}`, `{{range .Tags}}{{if eq . "y:2"}}{{continue}}{{end}}{{.}}{{end}}`, `{{break}}`, `{{continue}}`, `{{range .Tags}}{{break 1}}{{end}}`,
	`{{$x := .Id}}{{$x}} {{$x = .Name}}{{$x}}`, `{{$x}}`, `{{$}}`, `{{$.Id}}`, `{{with $x := .Config}}{{$x.Env}}{{end}}`, `{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}`, `{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}`, `{{if true}}{{$y := 2}}{{end}}{{$y}}`, `{{$a, $b := .Tags}}`, `{{range $a, $b, $c := .Tags}}{{end}}`, `{{range $a, := .Tags}}{{end}}`, `{{$x := }}`, `{{$x.Foo}}`, `{{$s := .Id}}{{$s.Foo}}`, `{{$x :}}`,
	`{{len .Tags}} {{len .Id}} {{len .Config}}`, `{{len .Size}}`, `{{len .Yes}}`, `{{len .Null}}`, `{{len .Nope}}`, `{{len 3}}`, `{{len}}`, `{{len 1 2}}`, `{{len nil}}`,
	`{{index .Tags 0}}`, `{{index .Tags 2}}`, `{{index .Tags 3}}`, `{{index .Tags 4}}`, `{{index .Tags 5}}`, `{{index .Tags -1}}`, `{{index .Tags "a"}}`, `{{index .Tags nil}}`, `{{index .Tags}}`, `{{index .Config "Env" 1}}`, `{{index .Config "Nope"}}`, `{{index .Config 1}}`, `{{index .Config nil}}`, `{{index .Id 0}}`, `{{index .Id 100}}`, `{{index .Id 23}}`, `{{index .Size 0}}`, `{{index .Null 0}}`, `{{index nil 0}}`, `{{index .Yes 0}}`, `{{index}}`, `{{index .Config "Deep" "er" 1}}`, `{{index .None 0}}`, `{{index .Tags 1.0}}`, `{{index .Tags 1.5}}`,
	`{{slice .Id 7}}`, `{{slice .Id 7 11}}`, `{{slice .Id 7 100}}`, `{{slice .Id 5 2}}`, `{{slice .Id 1 2 3}}`, `{{slice .Tags 1}}`, `{{slice .Tags 0 2 3}}`, `{{slice .Tags 0 4}}`, `{{slice .Tags 3 1}}`, `{{slice .Config 1}}`, `{{slice nil}}`, `{{slice .Id}}`, `{{slice .Id 1 2 3 4}}`,
	`{{split .Name "/"}}`, `{{split .Name ""}}`, `{{split .Name "q"}}`, `{{split .Size "/"}}`, `{{split .Name}}`, `{{split .Name "/" 1}}`, `{{split .Null "/"}}`, `{{split .Nope "/"}}`, `{{split 1 "/"}}`, `{{split nil "/"}}`, `{{join .Tags ","}}`, `{{join (split .Name "") "+"}}`, `{{join .Id ","}}`, `{{join .Null ","}}`, `{{join .Nope ","}}`, `{{join nil ","}}`, `{{join "a" ","}}`, `{{join 1 ","}}`,
	`{{title .Name}}`, `{{title "éa ßx ab_c a-b a.b 1a don't \"q"}}`, `{{lower "ÀB"}}{{upper "àßb"}}`, `{{pad "x" 2 3}}|`, `{{pad "" 2 3}}|`, `{{pad "x" -1 0}}`, `{{pad "x" 1}}`, `{{pad 1 1 1}}`, `{{pad "x" "a" 1}}`, `{{pad "x" 1.0 1}}`, `{{pad "x" 1.5 1}}`, `{{pad "x" .Size 1}}`, `{{pad "x" 'a' 1 | len}}`,
	`{{truncate .Id 5}}`, `{{truncate .Id 500}}`, `{{truncate .Id -1}}`, `{{truncate .Id 23}}`, `{{truncate .Size 1}}`, `{{truncate 5 .Id}}`, `{{truncate "a" "b"}}`, `{{truncate "a" true}}`, `{{truncate "a" nil}}`, `{{title .Id | upper | printf "%q"}}`, `{{.Id | truncate}}`, `{{5 | truncate .Id}}`, `{{.Size | truncate .Id}}`,
	`{{print .Id .Name}}`, `{{print 1 2 "a" 3 4}}`, `{{print .Size .Ratio}}`, `{{print .Null .Nope nil}}`, `{{println .Id 1}}`, `{{println}}`, `{{print}}`, `{{print true false .Tags}}`,
	`{{printf "%s|%10s|%-10s|%.2s|%q|%x|%X|%v|%d" .Name .Name .Name .Name .Name .Name .Name .Name .Name}}`, `{{printf "%d|%5d|%-5d|%05d|%+d|%x|%X|%o|%b|%c|%q|%U|%s|%v" 42 42 42 42 42 42 42 42 42 42 42 42 42 42}}`, `{{printf "%f|%.2f|%8.3f|%e|%g|%G|%v|%d" 1.5 1.5 1.5 1.5 1.5 1.5 1.5 1.5}}`, `{{printf "%.3g %.3g %g %g" 999.9 0.00001234 1e21 1e20}}`, `{{printf "%t %v %d" true false true}}`, `{{printf "%v %s %d" .Tags .Tags .Tags}}`, `{{printf "%v %T" .Config .Config}}`, `{{printf "%T %T %T %T %T %T %T %T" .Id .Size .Tags .Yes 1 1.5 'a' nil}}`, `{{printf "%d %s %v" .Size .Size .Size}}`, `{{printf "%d"}}`, `{{printf "x" 1 "a" nil}}`, `{{printf "%z" 1}}`, `{{printf "%!"}}`, `{{printf "%"}}`, `{{printf "%%"}}`, `{{printf "%*d|%-*d|%.*f" 5 1 5 1 2 1.555}}`, `{{printf "%*d" "a" 1}}`, `{{printf}}`, `{{printf 1}}`, `{{printf .Size}}`, `{{printf "%v %s" nil nil}}`, `{{printf "%#v %#q %#x" "a" "b" 255}}`, `{{printf "% d|% x" 5 "abc"}}`, `{{printf "%6.2f|%-8q|%08.3f|%+.2e" 3.14159 "a" -3.14159 12345.678}}`, `{{printf "%5t|%5v|%-5v|" true .Yes .No}}`, `{{printf "%3c|%-3c|%03d|%3s" 'x' 'y' -5 "é"}}`, `{{printf "%05s|%.0f|%.10g" "ab" 2.5 0.1}}`, `{{printf "%v %v" 1e6 123456789.0}}`, `{{printf "%v" 0.000001}}`, `{{1e21}} {{1.0}} {{-0.5}} {{1e100}}`, `{{printf "%x" .Tags}}`, `{{printf "%q" .Tags}}`, `{{printf "%5d" .Tags}}`,
	`{{eq 1 1}} {{eq "a" "b" "a"}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt 1.5 1.0}} {{ge "b" "a"}}`, `{{eq 1 "a"}}`, `{{eq 1 1.0}}`, `{{eq .Size 842}}`, `{{eq .Size "842"}}`, `{{eq .Null nil}}`, `{{eq nil nil}}`, `{{eq .Nope nil}}`, `{{eq .Id nil}}`, `{{eq 1}}`, `{{eq}}`, `{{eq .Tags .Tags}}`, `{{eq .Config 1}}`, `{{eq true .Yes}}`, `{{lt .Tags 1}}`, `{{lt 1 "a"}}`, `{{lt true false}}`, `{{lt .Null 1}}`, `{{ne .Id "x"}}`, `{{lt 1}}`, `{{eq "a" .Tags}}`, `{{gt "a" 1}}`, `{{ge .Size 5}}`,
	`{{and 1 0 2}} {{or 0 "" "x"}} {{and .Yes .Id}} {{or .Null .Id}} {{not 0}}`, `{{and}}`, `{{or}}`, `{{not}}`, `{{not 1 2}}`, `{{and .Yes .Nope.x}}`, `{{or .Yes (index .Tags 9)}}`, `{{1 | and 0}}`, `{{1 | and 2}}`, `{{0 | or 0}}`,
	`{{html "<a href='x'>&\""}} {{js "it's <b> \"q\" = \\ & \n"}} {{urlquery "a b&c=d/é~"}}`, `{{html .Tags}}`, `{{html .Null}}`, `{{urlquery .Nope}}`, `{{html 1 2}}`, `{{call .Id}}`, `{{call nil}}`, `{{call}}`,
	`{{1}} {{-2}} {{0x1F}} {{0b101}} {{0o17}} {{017}} {{1_000}} {{'a'}} {{'\n'}} {{1.5e3}} {{+3}}`, `{{99999999999999999999}}`, `{{9223372036854775808}}`, `{{1x}}`, `{{0x}}`, `{{1.2.3}}`, `{{.5}}`, `{{'ab'}}`, `{{'a}}`, `{{"a\tb\x41\u00e9\101"}}`, `{{"\q"}}`, "{{`raw\\n`}}", `{{"a}}`, "{{`a}}", "{{\"a\nb\"}}", `{{nil}}`, `{{true}}`, `{{nil | print}}`, `{{1 2}}`, `{{.Id 1}}`, `{{.Config.Env 1}}`, `{{"a" | .Id}}`, `{{"a" | "b"}}`, `{{1 | true}}`, `{{.Id | .}}`, `{{"x".Foo}}`, `{{1.Foo}}`, `{{nil.Foo}}`, `{{true.Foo}}`, `{{(.Config).Env}}`, `{{(.Config).Nope}}`, `!{{(.Config).Nope}}`, `{{(index .Tags 0).Foo}}`, `{{.Config.Deep.er}}`, `{{(nil).Foo}}`,
	`{{`, `{{.Id`, `{{.Id}`, `{{.Id }`, "{{.Id\n", "{{.Id\n\"", `{{}}`, `{{ }}`, `{{|}}`, `{{.Id|}}`, `{{.Id||len}}`, `{{|len}}`, `{{(}}`, `{{(.Id}}`, `{{.Id)}}`, `{{()}}`, `{{(.Id))}}`, `{{.Id,}}`, `{{,}}`, `{{.Id.}}`, `{{..Id}}`, `{{.Id-x}}`, `{{.I-d}}`, `{{a.b}}`, `{{nope}}`, `{{nope .Id}}`, `{{len.x .Id}}`, `{{#}}`, `{{.Id#}}`, `{{é}}`, `{{$é}}`, `{{.é}}`, "{{\x01}}", `{{€}}`, `{{.Id @}}`, `{{=}}`, `{{:=}}`, `{{:}}`, `{{.Id = 1}}`, `{{.Id := 1}}`, `}}`, `{{.Id}}}}`, `{{{.Id}}}`, `{{ {{.Id}} }}`, `{{"{{"}}`, `{{/* c */}}x`, `{{- /* c */ -}} x`, `{{/* c }}`, `{{/* c */ x}}`, `{{ /* c */}}`, ` {{- .Id -}} x`, ` {{-.Id}}`, `{{- 3}}`, `{{-3}}`, `{{3 -}} x`, `{{3-}}`, "a \n{{- .Id}}",
	`{{if}}a{{end}}`, `{{if .Id}}a`, `{{if .Id}}a{{else}}b`, `{{if .Id}}a{{else}}b{{else}}c{{end}}`, `{{end}}`, `{{else}}`, `{{else if .Id}}`, `{{if .Id}}{{else if}}{{end}}`, `{{if .Id}}{{end .}}`, `{{if .Id}}{{else .}}{{end}}`, `{{range}}{{end}}`, `{{with}}{{end}}`, `{{with .Id}}{{else with .Name}}{{end}}`, `{{if .Id}}x{{end}}{{end}}`, `{{define "x"}}[{{.}}]{{end}}{{template "x" .Id}}{{template "x"}}`, `{{template "y"}}`, `{{template}}`, `{{template .Id}}`, `{{template "x" .Id .Name}}`, `{{define "x"}}a`, `{{define}}a{{end}}`, `{{define x}}{{end}}`, `{{define "x" 1}}{{end}}`, `{{define "x"}}{{.Foo.Bar}}{{end}}{{template "x" .Id}}`, `{{block "b" .Name}}<{{.}}>{{end}}`, `{{block "b"}}{{end}}`, `{{block}}`, `{{define "x"}}a{{end}}{{define "x"}}b{{end}}`, `{{define "x"}}{{else}}{{end}}`, `{{if .Id}}{{define "x"}}{{end}}{{end}}`, `{{define "x"}}{{$q}}{{end}}`, `{{with .Id}}{{$}}{{end}}`, `{{block "b" .}}{{.Size}}{{end}} {{template "b" .Config}}`,
	`{{printf "%[2]d %[1]d" 1 2}}`, `{{printf "%[1]d %d %[1]q" 1 2}}`, `{{printf "%[3]*.[2]*[1]f|" 12.0 2 6}}`, `{{printf "%[5]d" 1}}`, `{{printf "%[0]d" 1}}`, `{{printf "%[x]d" 1}}`, `{{printf "%[1d" 1}}`, `{{printf "%[]d" 1}}`, `{{printf "%[" 1}}`, `{{printf "%[1]" 1}}`, `{{printf "%[2]2d|%[1].2d" 1 2}}`, `{{printf "%[1]*d" 5}}`, `{{printf "%[2]*[1]d|" 5 6}}`, `{{printf "%.[2]*[1]f|" 1.5 3}}`, `{{printf "%[-1]d" 1}}`, `{{printf "%[1]*.[2]d" 1 2 3}}`, `{{printf "%3[1]d" 1}}`, `{{printf "%.3[1]f|" 1.0}}`, `{{printf "%[99999999]d" 1}}`, `{{printf "%99999999d|x" 1}}`, `{{printf "%.99999999d|x" 1}}`, `{{printf "%[1]v %[1]T %[1]x" .Id}}`, `{{printf "%*d|%.*d|%*d" -5 1 -2 3 "x" 4}}`, `{{printf "%*" 1}}`, `{{printf "%.*" 1}}`, `{{printf "%*d"}}`, `{{printf "%*d" 2000000 1}}`,
	`{{printf "%#v %#v %#v %#v %#v %#v" "a" 1 1.5 true nil 'x'}}`, `{{printf "%#v" .Tags}}`, `{{printf "%#v" .None}}`, `{{printf "%#v" .Config}}`, `{{printf "%#v" .Config.Deep}}`, `{{printf "%#v" (split "a b" " ")}}`, `{{printf "%#v %#v" .Size .Null}}`, `{{printf "%+v %+v %+v %+v" 1 1.5 "a" .Tags}}`, `{{printf "%#5v|%-5v|%05v|%5v" 1 2 3 .Tags}}`, `{{printf "%#v %#v %#v %#v" 1.0 1e6 1e21 0.0}}`, `{{printf "%#x %#X %#o %#b %O %#O %#q %#U %#c" 255 255 8 5 8 8 65 233 65}}`, `{{printf "%#x|%# x|% x|%#X|%x|%#x" "hi" "hi" "hi" "hi" "" ""}}`, `{{printf "%+q|%+q|%#q|%#q|%+q|%q" "é" 233 "a` + "`" + `b" "a\tb" "日" "\u00e9"}}`, `{{printf "%08d|%-08d|%+08d|% 08d|%08.3d|%+.3d|%.0d|%5.0d|%+.0d" 42 42 42 42 42 42 0 0 0}}`, `{{printf "%#08x|%#8x|%-#8x|%08x" 255 255 255 -255}}`, `{{printf "%#g|%#.3g|%#e|%#f|%#.0f|%#v|%#g|%#.0e|%#g" 1.5 1.5 1.5 1.5 1.0 100000.0 1e7 1.0 0.0}}`, `{{printf "%+f|%+.1e|% f|% .2f|%+g|%08f|%-12f|%+012f|% 012.2f" 1.5 1.5 1.5 1.5 1.5 -1.5 1.5 1.5 1.5}}`, `{{printf "%g %v %f" -0.0 -0.0 -0.0}}`, `{{printf "%.3T|%10T|%-10T|" 1 1 1}}`, `{{printf "%w %p %y %é" "a" 1 2 3}}`, `{{printf "%5w|%-5y|%05t" 1 2 3}}`, `{{printf "%s %d %c %q" true true 1.5 1.5}}`, `{{printf "%d %x %q %t %e" "a" .Tags .Tags .Tags .Tags}}`, `{{printf "%v %d %s" .Config.Deep .Config.Deep .Config.Deep}}`, `{{printf "%s" .Config}}`, `{{printf "%q" .Config.Labels}}`, `{{printf "%6.3v|%.2v|%.1s" "abcdef" .Tags .Tags}}`, `{{printf "%.2q|%8.2q|%-8.2q|%08.2q" "abcdef" "abcdef" "abcdef" "abcdef"}}`, `{{printf "%.1x|%6.1x|%-6.1x|%06.1x" "abc" "abc" "abc" "abc"}}`, `{{printf "%U|%#U|%8U|%-8U|%.6U|%08U" 65 65 65 65 65 65}}`, `{{printf "%c|%c|%q|%5q" 1114112 -1 1114112 65}}`, `{{len (printf "%.65536f" 1.5)}} {{len (printf "%.70000e" 1.5)}} {{len (printf "%.70000g" 1.5)}} {{len (printf "%70000d" 1)}} {{len (printf "%.70000d" 1)}} {{len (printf "%070000.2f" 1.5)}}`, `{{printf "%.30f|%.30e|%.30g|%.1100g" 0.1 0.1 0.1 0.1}}`, `{{printf "%d%%|%5%|%-5%|%.2%" 1}}`, `{{printf "% d|%+ d|%- d|%-+5d|" 1 2 3 4}}`, `{{printf "%t|%5t|%-6t|%06t" true false true false}}`, `{{printf "%v|%5v|%-5v|%05v" nil nil nil nil}}`, `{{printf "%d %s %[1]v" nil nil}}`, `{{printf "é%sé" "x"}}`, `{{printf "%sé%" "x"}}`,
	"line\n{{range .Tags}}\n  {{.Foo}}\n{{end}}", "{{if .Id}}\n{{nope}}\n{{end}}", "a\n\nb {{.Id", "{{if eq .Id\n 1}}{{end}}", `{{range $i, $e := .Tags}}{{if $i}}, {{end}}{{$e}}{{end}}`, `{{with .Config}}{{range .Env}}{{$.Id}} {{.}}{{end}}{{end}}`, `{{if eq (len .Tags) 3}}three{{end}}`, `{{.Config.Labels.k}}{{.Config.Labels.nope}}`, `{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}{{"\n"}}{{end}}`, `{{printf "%.12s" .Id}}`, `{{slice (index (split .Id ":") 1) 0 12}}`, `{{index (split .Id ":") 2}}`, `{{index (split .Id ":") 3}}`, `{{json (split .Name "/")}}`, `{{json 1.0}} {{json 1e21}} {{json "<a>"}} {{json true}} {{json nil}}`, `{{json}}`, `{{.Tags | json | len}}`, `{{if (or .Null .Nope)}}{{else}}no{{end}}`,
}

// Evaluated over a row with methods.
var rowTemplates = []string{
	`{{.ID}}`, `{{.Nope}}`, `{{.ID.Foo}}`, `{{.ID 1}}`, `{{.ID "a" "b"}}`, `{{1 | .ID}}`, `{{.ID | .Name}}`, `{{with .ID}}{{.Foo}}{{end}}`, `{{$x := .}}{{$x.ID}}{{$x.Nope}}`, `{{range split .ID "2"}}{{.}};{{end}}`, `{{range .ID}}{{end}}`, `{{index . "ID"}}`, `{{len .}}`, `{{index .ID 1}}`, `{{join .ID ","}}`, `{{(.ID).Nope}}`, `{{if .}}x{{end}}`, `{{slice . 1}}`, `{{range .}}{{end}}`, `{{printf "%T" .}}`, `{{eq .ID "123"}}`, `{{eq . 1}}`, `{{.Name | upper | title | printf "%-8s|"}}`, `{{truncate .ID 2}}{{pad .Tag 1 1}}|`, `{{upper .}}`, `{{truncate .ID .ID}}`,
}

type result struct {
	Over     string `json:"over"`
	Template string `json:"template"`
	Output   string `json:"output"`
	Error    string `json:"error,omitempty"`
}

func evaluated(over, text string, dot interface{}) result {
	r := result{Over: over, Template: text}
	option := "missingkey=default"
	if strings.HasPrefix(text, "!") {
		option, text = "missingkey=error", text[1:]
	}
	var out strings.Builder
	t, err := template.New("").Funcs(functions).Option(option).Parse(text)
	if err == nil {
		err = t.Execute(&out, dot)
	}
	if err != nil {
		r.Error = err.Error()
	}
	r.Output = out.String()
	return r
}

func templates(path string) {
	decoder := json.NewDecoder(strings.NewReader(data))
	decoder.UseNumber()
	var raw interface{}
	if err := decoder.Decode(&raw); err != nil {
		panic(err)
	}
	var cases []result
	for _, text := range rawTemplates {
		cases = append(cases, evaluated("raw", text, raw))
	}
	for _, text := range rowTemplates {
		cases = append(cases, evaluated("row", text, &row{"123", "a/b", "t"}))
	}
	out, err := json.MarshalIndent(map[string]interface{}{"data": json.RawMessage(data), "cases": cases}, "", " ")
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(path, append(out, '\n'), 0o644); err != nil {
		panic(err)
	}
}
