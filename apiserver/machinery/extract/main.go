// Command extract writes the facts of Kubernetes' built-in API types, and golden objects made with them. It is run by hand for a new minor
// version of Kubernetes, from this folder:
//
//	go run . table > ../src/builtin/table.txt
//	go run . golden ../testdata/golden
//
// To follow a new minor, raise k8s.io/kubernetes and the staging modules in go.mod first.
package main

import (
	"bufio"
	"fmt"
	"os"
)

func main() {
	err := fmt.Errorf("usage: extract table | extract golden FOLDER")
	switch {
	case len(os.Args) == 2 && os.Args[1] == "table":
		out := bufio.NewWriter(os.Stdout)
		if err = writeTable(out); err == nil {
			err = out.Flush()
		}
	case len(os.Args) == 3 && os.Args[1] == "golden":
		err = writeGolden(os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
