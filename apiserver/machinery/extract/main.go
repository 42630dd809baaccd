// Command extract writes the facts of Kubernetes' built-in API types, and golden objects made with them. It is run by hand for a new minor
// version of Kubernetes, from this folder:
//
//	go run . table > ../src/builtin/table.txt
//	go run . golden ../testdata/golden
//	go run . messages ../testdata/golden 199
//
// To follow a new minor, raise k8s.io/kubernetes and the staging modules in go.mod first.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
)

func main() {
	err := fmt.Errorf("usage: extract table | extract golden FOLDER | extract messages FOLDER STEP")
	switch {
	case len(os.Args) == 2 && os.Args[1] == "table":
		out := bufio.NewWriter(os.Stdout)
		if err = writeTable(out); err == nil {
			err = out.Flush()
		}
	case len(os.Args) == 3 && os.Args[1] == "golden":
		err = writeGolden(os.Args[2])
	case len(os.Args) == 4 && os.Args[1] == "messages":
		var step int
		if step, err = strconv.Atoi(os.Args[3]); err == nil {
			err = writeMessages(os.Args[2], max(step, 1))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
