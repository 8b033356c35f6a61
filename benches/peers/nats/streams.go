package main

import (
	"fmt"
	"sort"
	"time"

	"github.com/nats-io/nats.go"
)

const formedWithin = 60 * time.Second

// Streams are the partitions, and who leads each.
type Streams struct {
	connection *nats.Conn
	context    nats.JetStreamContext
	// Subjects by the name of the server that leads their streams.
	byLeader map[string][]string
	leaders  []string
	count    int
}

func subject(number int) string { return fmt.Sprintf("bench.%d", number) }
func stream(number int) string  { return fmt.Sprintf("S%d", number) }

// createStreams asks until the servers have formed a cluster and every stream has all its replicas.
func createStreams(load Load) (*Streams, error) {
	var all []string
	for _, address := range load.servers {
		all = append(all, address)
	}
	sort.Strings(all)
	deadline := time.Now().Add(formedWithin)
	connection, err := nats.Connect(all[0], nats.RetryOnFailedConnect(true), nats.Timeout(5*time.Second))
	if err != nil {
		return nil, err
	}
	context, err := connection.JetStream(nats.MaxWait(5 * time.Second))
	if err != nil {
		return nil, err
	}
	streams := &Streams{connection: connection, context: context, count: load.partitions}
	for number := range load.partitions {
		config := &nats.StreamConfig{
			Name:     stream(number),
			Subjects: []string{subject(number)},
			Storage:  nats.FileStorage,
			Replicas: len(load.servers),
		}
		for {
			if _, err = context.AddStream(config); err == nil {
				break
			}
			if time.Now().After(deadline) {
				return nil, fmt.Errorf("no stream: %w", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	for time.Now().Before(deadline) {
		if streams.look(len(load.servers)) {
			return streams, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, fmt.Errorf("the streams do not have all their replicas")
}

// look asks who leads each stream: whether each has a leader and its other replicas are level.
func (streams *Streams) look(replicas int) bool {
	byLeader := map[string][]string{}
	for number := range streams.count {
		info, err := streams.context.StreamInfo(stream(number))
		if err != nil || info.Cluster == nil || info.Cluster.Leader == "" {
			return false
		}
		level := 1
		for _, replica := range info.Cluster.Replicas {
			if replica.Current {
				level++
			}
		}
		if level != replicas {
			return false
		}
		byLeader[info.Cluster.Leader] = append(byLeader[info.Cluster.Leader], subject(number))
	}
	streams.byLeader, streams.leaders = byLeader, nil
	for leader := range byLeader {
		streams.leaders = append(streams.leaders, leader)
	}
	sort.Strings(streams.leaders)
	return true
}

// stored counts the acknowledged sequences that their streams hold.
func (streams *Streams) stored(sequences map[string]map[uint64]bool) (uint64, error) {
	var found uint64
	for name, acked := range sequences {
		info, err := streams.context.StreamInfo(name)
		if err != nil {
			return 0, err
		}
		state := info.State
		if state.Msgs != state.LastSeq-state.FirstSeq+1 {
			return 0, fmt.Errorf("%s has gaps", name)
		}
		for sequence := range acked {
			if sequence >= state.FirstSeq && sequence <= state.LastSeq {
				found++
			}
		}
	}
	return found, nil
}

func (streams *Streams) close() { streams.connection.Close() }
