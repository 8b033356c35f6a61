package main

import (
	"time"

	"github.com/IBM/sarama"
	"walser/tests/clients/stand"
)

// underFaults: a group of three reads a topic while its coordinator is killed in a rebalance and then stopped in
// order; the next member begins where they were.
func underFaults(kind string, strategy sarama.BalanceStrategy) (string, error) {
	topic := prefix + "faults-" + kind
	stand, err := stand.Open()
	if err != nil {
		return "", err
	}
	defer stand.Close()
	if _, err := stand.Ask("group " + topic); err != nil {
		return "", err
	}
	var members group
	defer func() { members.leave() }()
	if err := members.join(topic, strategy, 2); err != nil {
		return "", err
	}
	if err := eventually("two sharing", patience, shared(members, partitions)); err != nil {
		return "", err
	}
	// All of them commit, again and again, until the verdict.
	ended := make(chan struct{})
	defer close(ended)
	over := stand.Begin("faults")
	if err := members.join(topic, strategy, 1); err != nil {
		return "", err
	}
	for _, one := range members {
		go one.keepCommitting(ended)
	}
	faults := <-over
	if faults.Err != nil {
		return "", faults.Err
	}
	all := func() bool { return len(counted(members)) >= partitions*faults.Count }
	if err := eventually("reading all", patience, all); err != nil {
		return "", err
	}
	if err := complete(members, 0, faults.Count, true); err != nil {
		return "", err
	}
	verdict, err := stand.Ask("judge")
	if err != nil {
		return "", err
	}
	if err := members.leave(); err != nil {
		return "", err
	}
	after, err := stand.Number("more")
	if err != nil {
		return "", err
	}
	return verdict, comeBack(topic, strategy, faults.Count, after-faults.Count)
}

func (m *member) keepCommitting(ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case <-time.After(200 * time.Millisecond):
			m.commit()
		}
	}
}
