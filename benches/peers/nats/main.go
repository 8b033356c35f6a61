// Produces to NATS JetStream as `load` does to a broker that speaks Kafka, by NATS's own client: one record a request,
// each answered by a PubAck. One line of JSON, with the names of `load`'s rows.
//
//	client -servers n1=127.0.0.1:4222,... -pids 1,2,3 -size 1024 -partitions 1 -connections 1 -inflight 64
//
// A partition is a stream of three replicas in files. A connection goes to the server that leads its streams. With -rate
// the loop is open, and latency counts from the intended instant.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// Load is what is offered.
type Load struct {
	servers     map[string]string
	pids        []string
	size        int
	partitions  int
	connections int
	inflight    int
	rate        float64
	warm        time.Duration
	measured    time.Duration
}

func main() {
	load, err := parse()
	if err == nil {
		err = run(load)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nats:", err)
		os.Exit(1)
	}
}

func parse() (Load, error) {
	var load Load
	servers := flag.String("servers", "", "NAME=HOST:PORT, of each server")
	pids := flag.String("pids", "", "process ids of the servers")
	flag.IntVar(&load.size, "size", 1024, "bytes of a record")
	flag.IntVar(&load.partitions, "partitions", 1, "streams")
	flag.IntVar(&load.connections, "connections", 1, "connections")
	flag.IntVar(&load.inflight, "inflight", 1, "requests on the way per connection")
	flag.Float64Var(&load.rate, "rate", 0, "requests a second over all connections: an open loop")
	flag.DurationVar(&load.warm, "warm", 3*time.Second, "before the window")
	flag.DurationVar(&load.measured, "measured", 12*time.Second, "the window")
	flag.Parse()
	load.servers = map[string]string{}
	for _, server := range strings.Split(*servers, ",") {
		name, address, found := strings.Cut(server, "=")
		if !found {
			return load, fmt.Errorf("-servers is NAME=HOST:PORT,...")
		}
		load.servers[name] = "nats://" + address
	}
	if *pids != "" {
		load.pids = strings.Split(*pids, ",")
	}
	if load.size < 8 || load.partitions < 1 || load.connections < 1 || load.inflight < 1 {
		return load, fmt.Errorf("a load has a record of 8 bytes, a stream, a connection and a request")
	}
	return load, nil
}

func run(load Load) error {
	streams, err := createStreams(load)
	if err != nil {
		return err
	}
	defer streams.close()
	outcome, err := offer(load, streams)
	if err != nil {
		return err
	}
	stored, err := streams.stored(outcome.sequences)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(newRow(load, outcome, stored))
}
