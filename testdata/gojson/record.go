// Asks Go's encoding/json and time what they say to a list of documents, and writes it down: one JSON object a line.
// See README.md for how to run it.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/docker/docker/api/types/strslice"
)

type inner struct {
	A string
	B int `json:"b"`
}

// target has a field of each kind that dockerd's structs have. The test in snapshot/src/schema/gojson has the same.
type target struct {
	Text   string
	Flag   bool
	Int    int64
	Small  uint16
	Wide   uint32
	Huge   uint64
	List   []string
	Items  []inner
	Map    map[string]string
	Nested map[string]*inner
	Set    map[string]struct{}
	Ptr    *inner
	Inner  inner
	Time   time.Time
	Cmd    strslice.StrSlice
	Pair   [2]uint64
	Kind   string `json:"kind_s"`
}

type answer struct {
	Document string  // each byte a character
	By       string  // Unmarshal, Decoder, or both if they agree
	Value    *target `json:",omitempty"`
	Error    string  `json:",omitempty"`
	Kind     string  `json:",omitempty"` // syntax, type, time, end
	Field    string  `json:",omitempty"`
	Found    string  `json:",omitempty"`
	Expected string  `json:",omitempty"`
	Offset   int64   `json:",omitempty"`
}

func expected(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Slice, reflect.Array:
		return "list"
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "flag"
	case reflect.Int, reflect.Int64:
		return "int64"
	default:
		return t.Kind().String()
	}
}

// latin1 makes a character of each byte.
func latin1(document string) string {
	var characters []rune
	for _, b := range []byte(document) {
		characters = append(characters, rune(b))
	}
	return string(characters)
}

func ask(document string, decoder bool) answer {
	value := &target{}
	var err error
	if decoder {
		err = json.NewDecoder(strings.NewReader(document)).Decode(value)
	} else {
		err = json.Unmarshal([]byte(document), value)
	}
	a := answer{Document: latin1(document), By: "both"}
	switch e := err.(type) {
	case nil:
		a.Value = value
		return a
	case *json.SyntaxError:
		a.Kind, a.Offset = "syntax", e.Offset
	case *json.UnmarshalTypeError:
		a.Kind, a.Field, a.Found, a.Expected, a.Offset = "type", e.Field, e.Value, expected(e.Type), e.Offset
	case *time.ParseError:
		a.Kind = "time"
	default:
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			a.Kind = "end"
		} else {
			panic(fmt.Sprintf("%T %v", err, err))
		}
	}
	a.Error = err.Error()
	return a
}

func main() {
	var documents []string
	add := func(all ...string) { documents = append(documents, all...) }
	// Each field with each kind of value.
	fields := []string{"Text", "Flag", "Int", "Small", "Wide", "Huge", "List", "Items", "Map", "Nested", "Set", "Ptr", "Inner", "Time", "Cmd", "Pair", "kind_s"}
	values := []string{`null`, `true`, `false`, `0`, `-0`, `1`, `-1`, `1.0`, `1e2`, `65535`, `65536`, `4294967296`, `9223372036854775807`, `9223372036854775808`,
		`18446744073709551615`, `18446744073709551616`, `1e400`, `""`, `"x"`, `"1"`, `[]`, `[null]`, `["a"]`, `["a",1]`, `[1,2,3]`, `[1]`, `[{}]`, `[{"A":1}]`, `[[]]`, `{}`,
		`{"A":"y"}`, `{"A":5,"b":"z"}`, `{"a":null,"B":7}`, `{"x":{}}`, `{"x":null}`, `{"x":[]}`, `{"x":"y"}`, `"2020-01-02T03:04:05Z"`}
	for _, field := range fields {
		for _, value := range values {
			add(fmt.Sprintf(`{%q:%s}`, field, value))
		}
	}
	// Keys: case, folding beyond ASCII, escapes, which of several wins, what the later leaves of the earlier.
	add(`{"text":"a"}`, `{"TEXT":"a","Text":"b","tExT":"c"}`, `{"Text":"b","TEXT":"a"}`, `{"kınd_s":"a"}`, "{\"\u212aind_\u017f\":\"a\"}", `{"KIND_S":"a","kind_s":"b"}`,
		`{"\u0054ext":"a"}`, `{"Text ":"a"}`, `{"Kind":"a"}`, "{\"Te\u017ft\":\"a\"}", `{"Text":"a","Text":null}`, `{"Text":"a","Text":1}`,
		`{"Inner":{"A":"x"},"Inner":{"b":2}}`, `{"Inner":{"A":"x"},"Inner":null}`, `{"Ptr":{"A":"x"},"Ptr":{"b":2}}`, `{"Ptr":{"A":"x"},"Ptr":null}`,
		`{"Ptr":{"A":"x"},"Ptr":null,"Ptr":{"b":1}}`, `{"Map":{"a":"1"},"Map":{"b":"2"}}`, `{"Map":{"a":"1","a":"2"}}`, `{"Map":{"a":"1"},"Map":null,"Map":{"b":"2"}}`,
		`{"Nested":{"a":{"A":"1"},"a":{"b":2}}}`, `{"Nested":{"a":{"A":"1"}},"Nested":{"a":{"b":2}}}`, `{"List":["a","b"],"List":["c"]}`, `{"List":["a"],"List":null}`,
		`{"List":["a","b"],"List":[null]}`, `{"Items":[{"A":"x","b":1}],"Items":[{"b":2}]}`, `{"Pair":[1,2],"Pair":[3]}`, `{"Pair":[1,2,3,"x"]}`,
		`{"Time":"2020-01-02T03:04:05Z","Time":null}`, `{"Cmd":["a"],"Cmd":"b"}`, `{"Cmd":["a"],"Cmd":null}`, `{"List":"a","Text":1}`, `{"Text":1,"Time":"x"}`, `{"Cmd":{},"Text":1}`,
		`{"Cmd":[1],"Time":"x"}`, `{"Ptr":{"A":{"x":[1,{"Text":2}]},"b":1}}`, `{"x":{"Text":1},"y":[1e999],"Text":"z"}`, `{"Flag":true,"Flag":"x","Int":7}`)
	// Strings.
	add(`{"Text":"\u00e9\ud83d\ude00\ud83dx\ude00\n\/\\\""}`, "{\"Text\":\"\xff\xc3(\xe2\x82\"}", "{\"Text\":\"\xed\xa0\x80\"}", `{"Text":"\ud800\ud800\udc00"}`, "{\"Map\":{\"\xff\":\"\xfe\"}}",
		`{"Text":"a`+"\x01"+`"}`, `{"Text":"\x"}`, `{"Text":"\u12g4"}`, "{\"Text\":\"\u2028\"}", `{"Text":"\ud83d\u0041"}`, "{\"Text\":\"\x7f\u0000\"}")
	// Syntax, and what follows the value.
	add(``, ` `, `null`, `true`, `1`, `"x"`, `[]`, `{}`, `{} `, `{}x`, `{}{}`, `{} null`, `1x`, `nul`, `nulx`, `truE`, `tru`, `{`, `{"`, `{"a`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `{a:1}`,
		`{"a" 1}`, `{"a":}`, `{"a":1 "b":2}`, `[1,]`, `[,]`, `[1 2]`, `{"a":[1}`, `{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":1e+}`, `{"a":+1}`, `{"a":'x'}`, `{"a":"\u00"}`,
		"\ufeff{}", "\x00", "{\"a\":\x80}", "{\"Text\":\"a\nb\"}", "{\"Text\":\"a\tb\"}", `{"a":NaN}`, `/* */{}`, "{}\x00", `{"Text":1,"a"}`, "{\"a\":\u00a0}", `{"a":\}`, "{\"a\":\x7f}", "{\"a\":\x1f}", "{\"a\":\xad}",
		strings.Repeat("[", 10000)+strings.Repeat("]", 10000), strings.Repeat("[", 10001)+strings.Repeat("]", 10001), `{"x":`+strings.Repeat("[", 9999)+strings.Repeat("]", 9999)+`,"Text":"deep"}`,
		`{"x":`+strings.Repeat("[", 10000)+strings.Repeat("]", 10000)+`}`, `{"x":`+strings.Repeat(`{"":`, 9999)+`1`+strings.Repeat("}", 9999)+`}`)
	// Times.
	for _, text := range []string{"", "2020-01-02T03:04:05Z", "2020-01-02T03:04:05z", "2020-01-02t03:04:05Z", "2020-01-02 03:04:05Z", "2020-01-02T3:04:05Z", "2020-01-02T03:4:05Z", "2020-01-02T03:04:5Z", "2020-1-02T03:04:05Z",
		"2020-01-02T03:04:05.5Z", "2020-01-02T03:04:05,5Z", "2020-01-02T03:04:05.Z", "2020-01-02T03:04:05.123456789Z", "2020-01-02T03:04:05.1234567891234Z", "2020-01-02T03:04:05.000000000Z", "2020-01-02T03:04:05.100Z",
		"2020-01-02T03:04:05.000000000000000000000000000000001Z", "2020-01-02T03:04:05+00:00", "2020-01-02T03:04:05-00:00", "2020-01-02T03:04:05+05:30", "2020-01-02T03:04:05-07:00", "2020-01-02T03:04:05+99:99",
		"2020-01-02T03:04:05+24:00", "2020-01-02T03:04:05+-1:30", "2020-01-02T03:04:05-+1:-5", "2020-01-02T03:04:05+0530", "2020-01-02T03:04:05+05", "2020-01-02T03:04:05", "2020-01-02T03:04Z", "2020-01-02", "2020-01-02T24:00:00Z",
		"2020-01-02T23:60:00Z", "2020-01-02T23:59:60Z", "2020-02-30T00:00:00Z", "2020-02-29T00:00:00Z", "2021-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2000-02-29T00:00:00Z", "2020-00-01T00:00:00Z", "2020-13-01T00:00:00Z",
		"2020-01-00T00:00:00Z", "2020-01-32T00:00:00Z", "2020-04-31T00:00:00Z", "0000-01-01T00:00:00Z", "0000-02-29T12:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00", "0001-01-01T01:00:00+01:00", "0001-01-01T00:00:00+01:00", "0000-12-31T23:59:59.999999999Z",
		"9999-12-31T23:59:59.999999999Z", "10000-01-01T00:00:00Z", "+2020-01-01T00:00:00Z", "-2020-01-01T00:00:00Z", "20x0-01-01T00:00:00Z", " 2020-01-02T03:04:05Z", "2020-01-02T03:04:05Z ", "2020-01-02T03:04:05ZZ", "2020-01-02T03:04:05UTC",
		"2020-01-02T03:04:05.5+05:30", "1969-12-31T23:59:59.5Z", "1970-01-01T00:00:00Z", "1601-01-01T00:00:00Z", "2400-12-31T00:00:00Z", "2100-03-01T00:00:00+12:45", "2020-01-02T03:04:05.5.5Z", "2020-01-02T03:04:05x05:30", "2020-01-02T03:04:05+0x:30",
		"202é-01-02T03:04:05Z", "2020-01-02T03:04:05+é1:3", "2020-01-02T03:04:05\\u005a", "2020-01-02T03:04:05\\u002b05:30", "2023-05-09T12:00:58.1234567891234Z", "2016-12-31T23:59:59-12:00", "9999-12-31T23:59:59-12:00", "0000-01-01T00:00:00+12:00"} {
		add(`{"Time":"` + text + `"}`)
	}
	add(`{"Time": "2020-01-02T03:04:05Z" ,"Text":"x"}`, `{"Time":1}`, `{"Time":{"a":[1]}}`, `{"Time":[]}`, `{"Time":true}`)

	out := json.NewEncoder(os.Stdout)
	for _, document := range documents {
		answers := []answer{ask(document, false), ask(document, true)}
		if reflect.DeepEqual(answers[0], answers[1]) {
			answers = answers[:1]
		} else {
			answers[0].By, answers[1].By = "Unmarshal", "Decoder"
		}
		for _, a := range answers {
			if err := out.Encode(a); err != nil {
				panic(err)
			}
		}
	}
}
