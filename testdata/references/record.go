// Asks docker's own parser of image references what it says to a list of texts, and writes it down: one JSON object a line.
// See README.md for how to run it.
package main

import (
	_ "crypto/sha256" // a digest of an algorithm that is not linked is refused
	_ "crypto/sha512"
	"encoding/json"
	"math/rand"
	"os"
	"strings"

	"github.com/docker/distribution/reference"
)

type answer struct {
	Text      string
	Domain    string `json:",omitempty"`
	Path      string `json:",omitempty"`
	Tag       string `json:",omitempty"`
	Digest    string `json:",omitempty"`
	Familiar  string `json:",omitempty"`
	Canonical string `json:",omitempty"`
	Error     string `json:",omitempty"`
}

func ask(text string) answer {
	a := answer{Text: text}
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		a.Error = err.Error()
		return a
	}
	a.Domain, a.Path = reference.Domain(named), reference.Path(named)
	if tagged, ok := named.(reference.Tagged); ok {
		a.Tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		a.Digest = digested.Digest().String()
	}
	a.Familiar, a.Canonical = reference.FamiliarString(named), named.String()
	return a
}

func main() {
	hex := "e6693c20186f837fc393390135d8a598a96a833917917789d63766cab6c59582"
	digest := "sha256:" + hex
	texts := []string{"", " ", "a", "ubuntu", "a:1", "a@" + digest, "a:1@" + digest, "a@" + digest + ":1", "<none>", "<none>:<none>", "<none>@<none>", "a:<none>", hex, hex[1:], hex + "0", "docker.io/" + hex, hex + ":1",
		"sha256", "sha256:1", "docker.io/library/sha256", "x/sha256", "A", "aB", "a/B", "A/b", "A.com/b", "a:B", "localhost", "localhost/a", "localhost:5000", "localhost:5000/a", "LOCALHOST/a", "a.b", "a.b/c", "a.b:1/c", "a:1/c", "a:x/c", "-a", "a-", "a--b", "a__b", "a___b", "a..b", "a._b",
		"a.b_c", "a_b.c/x", "a_b/x", ".a", "a.", "a/", "/a", "a//b", "a/b/c/d/e", "index.docker.io/a", "index.docker.io/a/b", "docker.io/a", "docker.io/library/a", "library/a", "library", "docker.io", "docker.io/", "1.2.3.4/a", "[::1]/a", "[::1]:5/a", "[::1/a", "[]/a", "[fe80::1%25eth0]/a",
		"a:" + strings.Repeat("t", 128), "a:" + strings.Repeat("t", 129), strings.Repeat("a", 255), strings.Repeat("a", 256), "library/" + strings.Repeat("a", 247), "library/" + strings.Repeat("a", 248), "x.y/" + strings.Repeat("a", 251), "x.y/" + strings.Repeat("a", 252), "x.y/" + strings.Repeat("a", 255), "x.y/" + strings.Repeat("a", 256),
		strings.Repeat("a", 244), strings.Repeat("a", 245), strings.Repeat("a", 246), strings.Repeat("a", 247), strings.Repeat("a", 248), strings.Repeat("d.", 130) + "y/a", "u/" + strings.Repeat("a", 243), "u/" + strings.Repeat("a", 244), "u/" + strings.Repeat("a", 245), "u/" + strings.Repeat("a", 253), "u/" + strings.Repeat("a", 254),
		"a@sha256:", "a@sha256", "a@" + digest[:70], "a@" + digest + "0", "a@sha256:" + strings.ToUpper(hex), "a@sha512:" + hex + hex, "a@sha384:" + hex + hex[:32], "a@md5:" + hex[:32], "a@sha1:" + hex[:40], "a@x+y:" + hex, "a@sha512:" + hex, "@" + digest, ":1", "a:", "a:.1", "a:-1", "a:_1", "a:1.2-3_4", "a:1:2", "a:1@", "a b", "a\n", "\ta",
		"a:1 ", "a,b", "é", "aé", "É/a", "ä.com/x", "xn--7o8h.com/x", "-x.com/a", "x-.com/a", "x..com/a", "a.b:/c", "a.b:x/c", "a.b:99999999/c", "http://a.b/c", "a@b", "a@b@c", "a:b@c:d", "https://x/y:1", "..", ".", "a/../b", "a/./b", "%", "a\x00b", "a:\x00", "ſ", "K/x"}
	// Changes of good ones in one place, the same in every run.
	good := []string{"ubuntu:24.04", "user/app@" + digest, "ghcr.io/a/b_c:v1.2-3", "localhost:5000/x/y:latest@" + digest, "[::1]:5000/x", "index.docker.io/library/a:1"}
	alphabet := []string{"", "a", "A", "0", "-", "_", ".", ":", "/", "@", " ", "é", "--", "__", "//", "["}
	random := rand.New(rand.NewSource(1))
	for len(texts) < 600 {
		text := good[random.Intn(len(good))]
		at := random.Intn(len(text) + 1)
		end := at + random.Intn(2)
		if end > len(text) {
			end = len(text)
		}
		texts = append(texts, text[:at]+alphabet[random.Intn(len(alphabet))]+text[end:])
	}
	out := json.NewEncoder(os.Stdout)
	for _, text := range texts {
		if err := out.Encode(ask(text)); err != nil {
			panic(err)
		}
	}
}
