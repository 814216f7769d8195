package main

import (
	"fmt"
	"math/rand"
	"os"
	"path"
	"strings"
	"text/tabwriter"
	"time"

	units "github.com/docker/go-units"
)

func file(name string, lines []string) {
	if err := os.WriteFile(os.Args[1]+"/"+name, []byte(strings.Join(lines, "")), 0o644); err != nil {
		panic(err)
	}
}

func main() {
	templates(os.Args[1] + "/template.json")
	rand.Seed(1)
	sizes := []uint64{0, 1, 9, 10, 99, 100, 512, 998, 999, 1<<63 - 1, 1<<64 - 1}
	for unit := uint64(1000); unit <= 1000000000000000000; unit *= 1000 {
		for _, k := range []uint64{1, 2, 9, 10} {
			for _, f := range []uint64{1000, 1001, 1004, 1005, 1006, 1015, 1045, 1095, 1499, 9994, 9995, 9996, 9999, 99949, 99950, 99951, 99994, 99995, 99999, 999499, 999500, 999501, 999949, 999950, 999999} {
				v := float64(unit) * float64(k) * float64(f) / 1000
				if v < 1.8e19 {
					sizes = append(sizes, uint64(v))
				}
			}
		}
		sizes = append(sizes, unit-1, unit, unit+1)
	}
	for i := 0; i < 700; i++ {
		sizes = append(sizes, rand.Uint64()>>uint(rand.Intn(64)))
	}
	var out []string
	for _, s := range sizes {
		out = append(out, fmt.Sprintf("%d\t%s\t%s\n", s, units.HumanSizeWithPrecision(float64(s), 3), units.HumanSizeWithPrecision(float64(s), 4)))
	}
	file("size.tsv", out)

	out = nil
	var ms []int64
	for _, edge := range []int64{0, 1, 2, 59, 60, 61, 119, 120, 121, 3599, 3600, 5399, 5400, 7199, 48 * 3600, 14 * 86400, 60 * 86400, 365 * 86400, 730 * 86400} {
		for _, d := range []int64{-1801000, -1800000, -1799000, -1000, -1, 0, 1, 999, 1000, 1799000, 1800000} {
			ms = append(ms, edge*1000+d)
		}
	}
	for h := int64(0); h < 24*60; h += 5 {
		ms = append(ms, h*3600000, h*3600000+1799999)
	}
	for d := int64(60); d < 2000; d += 9 {
		ms = append(ms, d*86400000, d*86400000+43200000)
	}
	for i := 0; i < 300; i++ {
		ms = append(ms, rand.Int63n(int64(1)<<uint(rand.Intn(42)+1)))
	}
	for _, m := range ms {
		out = append(out, fmt.Sprintf("%d\t%s\n", m, units.HumanDuration(time.Duration(m)*time.Millisecond)))
	}
	file("duration.tsv", out)

	out = nil
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Kolkata", "Pacific/Chatham", "Europe/London"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			panic(err)
		}
		for _, s := range []int64{-62135596800, 0, 1, 946684800, 1700000000, 1721000000, 1795229046, 4102444800} {
			for _, n := range []int64{0, 1, 451136144, 500000000} {
				t := time.Unix(s, n).In(loc)
				if s < 0 && zone != "UTC" {
					continue
				}
				out = append(out, fmt.Sprintf("%d\t%d\t%s\t%s\t%s\t%s\n", s, n, zone, t.String(), t.Format(time.RFC3339), t.Format(time.RFC3339Nano)))
			}
		}
	}
	// Local mean times, whose offsets have seconds.
	for _, zone := range []string{"Asia/Kolkata", "America/New_York", "Europe/Amsterdam", "Africa/Monrovia"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			panic(err)
		}
		for _, s := range []int64{-62101036800, -62135596800, -5364662400, -2000000000, -1600000000} {
			t := time.Unix(s, 120000000).In(loc)
			out = append(out, fmt.Sprintf("%d\t%d\t%s\t%s\t%s\t%s\n", s, 120000000, zone, t.String(), t.Format(time.RFC3339), t.Format(time.RFC3339Nano)))
		}
	}
	file("time.tsv", out)

	out = nil
	patterns := []string{"", "*", "**", "a", "a*", "*a", "*/*", "a/*", "?", "a?c", "[a]", "[^a]", "[a-c]", "[a-c]*", "[", "[]", "[]a]", "[^", "[a", "[a-", "[a-]", "[-a]", "[a-b-c]", "\\a", "\\", "a\\", "\\*", "[\\]]", "[\\-x]", "*[", "a[", "x*y*z", "é*", "[à-ü]", "?/?", "*:*", "*b*", "a/b:*", "[!a]", "]", "a*/b", "*?", "a[", "b[]"}
	names := []string{"", "a", "b", "ab", "abc", "a/b", "a/b/c", "a/b:t", "é", "éa", "*", "]", "-", "x", "xyz", "x/y/z", "a:t", "!", "\\"}
	for _, p := range patterns {
		for _, n := range names {
			ok, err := path.Match(p, n)
			r := fmt.Sprint(ok)
			if err != nil {
				r = err.Error()
			}
			out = append(out, p+"\t"+n+"\t"+r+"\n")
		}
	}
	file("pattern.tsv", out)

	out = nil
	words := []string{"", "a", "IMAGE ID", "sha256:0123456789", "é", "日本語", "x y", "<none>", "…", "seven77", "eight888", "ten_______"}
	for i := 0; i < 150; i++ {
		var b strings.Builder
		for l := rand.Intn(6); l >= 0; l-- {
			for c := rand.Intn(5); c > 0; c-- {
				b.WriteString(words[rand.Intn(len(words))])
				b.WriteString("\t")
			}
			b.WriteString(words[rand.Intn(len(words))])
			b.WriteString("\n")
		}
		var o strings.Builder
		w := tabwriter.NewWriter(&o, 10, 1, 3, ' ', 0)
		w.Write([]byte(b.String()))
		w.Flush()
		out = append(out, b.String(), "%%\n", o.String(), "%%\n")
	}
	file("table.txt", out)
}
