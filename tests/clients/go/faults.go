package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"walser/tests/clients/stand"
)

// different counts the records that were read at least once, and says whether they are those of one round.
func different(members []*member, first, count int) (int, error) {
	seen := map[string]bool{}
	for _, one := range members {
		_, read, _ := one.look()
		for _, value := range read {
			seen[value] = true
		}
	}
	for value := range seen {
		var partition, again, number int
		_, err := fmt.Sscanf(value, "%d %d-%d", &partition, &again, &number)
		if err != nil || partition != again || number < first || number >= first+count {
			return 0, fmt.Errorf("%q is of another round", value)
		}
	}
	return len(seen), nil
}

func (m *member) keepCommitting(ctx context.Context) {
	for ctx.Err() == nil {
		if err := m.client.CommitUncommittedOffsets(ctx); err != nil && ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "commit: %v\n", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// underFaults: a group of three reads a topic while its coordinator is killed in a rebalance and then stopped in
// order; the next member begins where they were.
func underFaults(kind string, options ...kgo.Opt) (string, error) {
	name := topic + "-faults-" + kind
	stand, err := stand.Open()
	if err != nil {
		return "", err
	}
	defer stand.Close()
	if _, err := stand.Ask("group " + name); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var members []*member
	defer func() {
		for _, one := range members {
			one.leave(ctx)
		}
	}()
	add := func() error {
		one, err := join(name, options...)
		if err != nil {
			return err
		}
		one.lock.Lock()
		one.passing = true
		one.lock.Unlock()
		members = append(members, one)
		go one.keepCommitting(ctx)
		return nil
	}
	if err := errors.Join(add(), add()); err != nil {
		return "", err
	}
	if err := eventually(ctx, "two sharing", func() (bool, error) { return shared(members) }); err != nil {
		return "", err
	}
	over := stand.Begin("faults")
	if err := add(); err != nil {
		return "", err
	}
	faults := <-over
	if faults.Err != nil {
		return "", faults.Err
	}
	all := func() (bool, error) {
		found, err := different(members, 0, faults.Count)
		return found == groupPartitions*faults.Count, err
	}
	if err := eventually(ctx, "reading all", all); err != nil {
		return "", err
	}
	verdict, err := stand.Ask("judge")
	if err != nil {
		return "", err
	}
	for _, one := range members {
		if err := one.leave(ctx); err != nil {
			return "", err
		}
	}
	members = nil
	after, err := stand.Number("more")
	if err != nil {
		return "", err
	}
	last, err := join(name, options...)
	if err != nil {
		return "", err
	}
	members = []*member{last}
	count := after - faults.Count
	back := func() (bool, error) { return hasRead(members, groupPartitions*count) }
	if err := eventually(ctx, "coming back", back); err != nil {
		return "", err
	}
	return verdict, onlyOnce(members, faults.Count, count)
}

// checkFaults runs all checks of groups under faults.
func checkFaults() {
	for _, one := range []struct {
		kind     string
		balancer kgo.GroupBalancer
	}{{"cooperative", kgo.CooperativeStickyBalancer()}, {"range", kgo.RangeBalancer()}} {
		name := "kill and restart, " + one.kind
		verdict, err := underFaults(one.kind, kgo.Balancers(one.balancer))
		if err != nil {
			fmt.Printf("FAIL %s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		fmt.Printf("PASS %s: %s\n", name, verdict)
	}
}
