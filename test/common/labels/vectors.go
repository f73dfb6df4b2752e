// Prints selector-vectors.txt: label sets up to the empty one, then selectors, each as JSON, and the
// indices of the sets that it matches, or `invalid` if Kubernetes rejects it. In an empty folder with
// a copy of this file:
//
//	go mod init vectors && go get k8s.io/apimachinery/pkg/labels@v0.34.4 && go run vectors.go
package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// Label sets in the form that labels.ts reads.
var sets = []string{
	"app=ios",
	"app=ios,version=5.2,region=eu",
	"app=android,version=5.1,region=us",
	"app=,beta=true",
	"in=notin,notin=in",
	"example.com/app=ios,app=web",
	"version=10,region=EU,beta=",
	"",
}

// Pieces of selectors: what is valid, and what is nearly so. Without `<` and `>`, which Longline does
// not support.
var pieces = []string{
	"app", "version", "region", "beta", "in", "notin", "ios", "android", "5.2", "5.1", "eu", "us", "true",
	"example.com/app", "Example.com/app", "/app", "a/b/c", "-x", "x-", "a_b", "é", "a:b", strings.Repeat("x", 63),
	strings.Repeat("x", 64), strings.Repeat("a.", 126) + "a/x", strings.Repeat("a.", 127) + "a/x",
	"=", "==", "!=", "!", "(", ")", ",", " ", "  ", "\t", "\n",
}

var shaped = []string{
	"", " ", "app", "!app", "app=ios", "app==ios", "app!=ios", "app in (ios)", "app notin (ios)",
	"app in (ios, android),version!=5.1", "app=", "app!=", "app in ()", "app in (,ios)", "app in (ios,)",
	"beta,!app", "region in (eu,us),!beta", "in", "in in (notin)", "notin notin (in)", "! app", "app = ios , beta",
	"app=ios,app=android", "app=ios=x", "app ios", "app=ios,", ",app", "!", "!app=ios", "app in ios",
	"app in (ios", "app in ios)", "app===ios", "app!==ios", "app=!ios", "app in (a b)", "app in (=)", "(app)",
	"example.com/app=ios", "app=\u00a0ios", "app\nin\t( ios )",
}

func main() {
	random := rand.New(rand.NewSource(19))
	selectors := append([]string{}, shaped...)
	for i := 0; i < 400; i++ {
		var text strings.Builder
		for n := random.Intn(9); n >= 0; n-- {
			text.WriteString(pieces[random.Intn(len(pieces))])
		}
		selectors = append(selectors, text.String())
	}
	for i := 0; i < 400; i++ {
		selectors = append(selectors, valid(random))
	}
	fmt.Printf("%s\n", strings.Join(sets, "\n"))
	seen := map[string]bool{}
	for _, selector := range selectors {
		// Kubernetes rejects a list that ends with two commas, although one empty value is allowed.
		if seen[selector] || strings.Contains(strings.Join(strings.Fields(selector), ""), ",,)") {
			continue
		}
		seen[selector] = true
		quoted, err := json.Marshal(selector)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s\t%s\n", quoted, evaluate(selector))
	}
}

func valid(random *rand.Rand) string {
	keys := []string{"app", "version", "region", "beta", "example.com/app", "in", "notin"}
	values := []string{"ios", "android", "5.2", "5.1", "eu", "us", "true", "", "in", "notin", "web"}
	key := func() string { return keys[random.Intn(len(keys))] }
	value := func() string { return values[random.Intn(len(values))] }
	list := func() string {
		parts := []string{}
		for n := random.Intn(3); n >= 0; n-- {
			parts = append(parts, value())
		}
		return strings.Join(parts, ", ")
	}
	parts := []string{}
	for n := random.Intn(3); n >= 0; n-- {
		switch random.Intn(6) {
		case 0:
			parts = append(parts, key())
		case 1:
			parts = append(parts, "!"+key())
		case 2:
			parts = append(parts, key()+"="+value())
		case 3:
			parts = append(parts, key()+" != "+value())
		case 4:
			parts = append(parts, key()+" in ("+list()+")")
		case 5:
			parts = append(parts, key()+" notin ("+list()+")")
		}
	}
	return strings.Join(parts, ",")
}

func evaluate(selector string) string {
	parsed, err := labels.Parse(selector)
	if err != nil {
		return "invalid"
	}
	matches := []string{}
	for i, text := range sets {
		set := labels.Set{}
		for _, pair := range strings.Split(text, ",") {
			if name, value, found := strings.Cut(pair, "="); found {
				set[name] = value
			}
		}
		if parsed.Matches(set) {
			matches = append(matches, strconv.Itoa(i))
		}
	}
	return strings.Join(matches, ",")
}
