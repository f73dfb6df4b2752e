// Command backend is the backend of the benches: it pushes to the clients of a server, as fast as
// the server answers or at a fixed rate.
//
//	backend <server> <address,…>
//
// The servers are listed in servers.go. Each line on standard input is a command in JSON, and each
// is answered with one line of JSON:
//
//	{"do":"start","calls":"unary","durable":true,"perSecond":0,"clients":2000,"prefix":"device-"}
//	                -> {}; `perSecond` 0 means as fast as the server answers
//	{"do":"stop"}   -> the number of pushes, of failures, and the first failure, after all answers
//	{"do":"fanOut","way":"each","durable":false,"clients":16000,"prefix":"fan-"}
//	                -> times of the call and of its answer; `way` is "each" (a list of clients) or "all"
//
// It exits at the end of its standard input. Messages are encoded by hand: the backend uses as little
// of the machine as possible, and needs no generated code.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type command struct {
	Do        string
	Calls     string
	Way       string
	Durable   bool
	PerSecond int
	Clients   int
	Prefix    string
}

type fanOutResult struct {
	StartUs int64  `json:"startUs"`
	EndUs   int64  `json:"endUs"`
	Failure string `json:"failure"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: backend <server> <address,…>")
		os.Exit(1)
	}
	open, ok := servers[os.Args[1]]
	if !ok {
		fmt.Fprintln(os.Stderr, "unknown server:", os.Args[1])
		os.Exit(1)
	}
	target, err := open(strings.Split(os.Args[2], ","))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	answers := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	var running *load
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		switch c.Do {
		case "start":
			running = startLoad(target, c)
			answers.Encode(struct{}{})
		case "stop":
			answers.Encode(running.stop())
		case "fanOut":
			answers.Encode(fanOut(target, c))
		}
	}
}

func fanOut(target server, c command) fanOutResult {
	ids := clientIDs(c)
	start := nowUs()
	var err error
	if c.Way == "all" {
		err = target.pushToAll(timedPayload(), len(ids))
	} else {
		err = target.pushToEach(ids, timedPayload(), c.Durable)
	}
	result := fanOutResult{StartUs: start, EndUs: nowUs()}
	if err != nil {
		result.Failure = err.Error()
	}
	return result
}

func clientIDs(c command) []string {
	ids := make([]string, c.Clients)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s%d", c.Prefix, i)
	}
	return ids
}
