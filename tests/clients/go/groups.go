package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Groups: three members share a topic, read all of it, commit, leave; the next one begins where they were.

const (
	groupPartitions = 6
	groupCount      = 50
)

// member is one consumer of a group, polled by a goroutine of its own.
type member struct {
	client *kgo.Client
	stop   context.CancelFunc
	done   sync.WaitGroup

	lock     sync.Mutex
	assigned map[int32]bool
	read     []string
	failed   error
	// Set while brokers are killed: errors are told and get over.
	passing bool
}

func join(name string, options ...kgo.Opt) (*member, error) {
	m := &member{assigned: map[int32]bool{}}
	change := func(to bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
			m.lock.Lock()
			defer m.lock.Unlock()
			for _, one := range changed[name] {
				if to {
					m.assigned[one] = true
				} else {
					delete(m.assigned, one)
				}
			}
		}
	}
	all := append([]kgo.Opt{
		kgo.ConsumerGroup(name), kgo.ConsumeTopics(name), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(10 * time.Second),
		kgo.HeartbeatInterval(500 * time.Millisecond), kgo.MetadataMinAge(250 * time.Millisecond), kgo.MetadataMaxAge(time.Second),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)),
	}, options...)
	var err error
	if m.client, err = client(all...); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	m.done.Add(1)
	go m.poll(ctx)
	return m, nil
}

func (m *member) poll(ctx context.Context) {
	defer m.done.Done()
	for ctx.Err() == nil {
		fetches := m.client.PollFetches(ctx)
		m.lock.Lock()
		for _, failed := range fetches.Errors() {
			if ctx.Err() == nil && m.failed == nil && !m.passing {
				m.failed = failed.Err
			}
		}
		fetches.EachRecord(func(record *kgo.Record) {
			m.read = append(m.read, fmt.Sprintf("%d %s", record.Partition, record.Value))
		})
		m.lock.Unlock()
	}
}

// leave commits what was polled, and leaves the group.
func (m *member) leave(ctx context.Context) error {
	m.stop()
	m.done.Wait()
	err := m.client.CommitUncommittedOffsets(ctx)
	m.client.Close()
	return err
}

func (m *member) look() (map[int32]bool, []string, error) {
	m.lock.Lock()
	defer m.lock.Unlock()
	assigned := map[int32]bool{}
	for one := range m.assigned {
		assigned[one] = true
	}
	return assigned, append([]string(nil), m.read...), m.failed
}

func shared(members []*member) (bool, error) {
	seen, sum := map[int32]bool{}, 0
	for _, one := range members {
		assigned, _, err := one.look()
		if err != nil || len(assigned) == 0 {
			return false, err
		}
		sum += len(assigned)
		for partition := range assigned {
			seen[partition] = true
		}
	}
	return sum == groupPartitions && len(seen) == groupPartitions, nil
}

func hasRead(members []*member, count int) (bool, error) {
	sum := 0
	for _, one := range members {
		_, read, err := one.look()
		if err != nil {
			return false, err
		}
		sum += len(read)
	}
	return sum >= count, nil
}

func eventually(ctx context.Context, what string, look func() (bool, error)) error {
	for {
		holds, err := look()
		if holds || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not in time", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func produceGroup(ctx context.Context, name string, first, count int) error {
	producer, err := client(kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer producer.Close()
	var sent []*kgo.Record
	for partition := 0; partition < groupPartitions; partition++ {
		for number := first; number < first+count; number++ {
			value := []byte(fmt.Sprintf("%d-%d", partition, number))
			sent = append(sent, &kgo.Record{Topic: name, Partition: int32(partition), Value: value})
		}
	}
	return producer.ProduceSync(ctx, sent...).FirstErr()
}

// onlyOnce compares what was read with one round of records.
func onlyOnce(members []*member, first, count int) error {
	seen := map[string]int{}
	for _, one := range members {
		_, read, _ := one.look()
		for _, value := range read {
			seen[value]++
		}
	}
	for partition := 0; partition < groupPartitions; partition++ {
		for number := first; number < first+count; number++ {
			value := fmt.Sprintf("%d %d-%d", partition, partition, number)
			if seen[value] != 1 {
				return fmt.Errorf("%s was read %d times", value, seen[value])
			}
			delete(seen, value)
		}
	}
	if len(seen) != 0 {
		return fmt.Errorf("%d records of another round", len(seen))
	}
	return nil
}

func groupOfThree(kind string, options ...kgo.Opt) func(context.Context) error {
	return func(ctx context.Context) (err error) {
		name := topic + "-group-" + kind
		if _, err := admin.CreateTopic(ctx, groupPartitions, -1, nil, name); err != nil {
			return err
		}
		var members []*member
		leave := func() {
			for _, one := range members {
				if failed := one.leave(ctx); err == nil {
					err = failed
				}
			}
			members = nil
		}
		defer func() { leave() }()
		for range 3 {
			one, err := join(name, options...)
			if err != nil {
				return err
			}
			members = append(members, one)
		}
		if err := eventually(ctx, "sharing", func() (bool, error) { return shared(members) }); err != nil {
			return err
		}
		if err := produceGroup(ctx, name, 0, groupCount); err != nil {
			return err
		}
		all := groupPartitions * groupCount
		if err := eventually(ctx, "reading", func() (bool, error) { return hasRead(members, all) }); err != nil {
			return err
		}
		if err := onlyOnce(members, 0, groupCount); err != nil {
			return err
		}
		if leave(); err != nil {
			return err
		}
		if err := produceGroup(ctx, name, groupCount, 10); err != nil {
			return err
		}
		last, err := join(name, options...)
		if err != nil {
			return err
		}
		members = []*member{last}
		back := func() (bool, error) { return hasRead(members, groupPartitions*10) }
		if err := eventually(ctx, "coming back", back); err != nil {
			return err
		}
		return onlyOnce(members, groupCount, 10)
	}
}

func groupAdmin(ctx context.Context) error {
	name := topic + "-group-admin"
	if _, err := admin.CreateTopic(ctx, groupPartitions, -1, nil, name); err != nil {
		return err
	}
	if err := produceGroup(ctx, name, 0, 10); err != nil {
		return err
	}
	offsets := kadm.Offsets{}
	offsets.AddOffset(name, 0, 4, -1)
	if err := admin.CommitAllOffsets(ctx, name, offsets); err != nil {
		return err
	}
	lags, err := admin.Lag(ctx, name)
	if err != nil {
		return err
	}
	if err := lags.Error(); err != nil {
		return err
	}
	// What is not committed lags from the start.
	if lag := lags[name].Lag.Total(); lag != 10*groupPartitions-4 {
		return fmt.Errorf("lag %d", lag)
	}
	listed, err := admin.ListGroups(ctx)
	if err != nil {
		return err
	}
	if state := listed[name].State; state != "Empty" {
		return fmt.Errorf("listed as %q", state)
	}
	if _, err := admin.DeleteGroup(ctx, name); err != nil {
		return err
	}
	if _, err := admin.DeleteGroup(ctx, name); err != kerr.GroupIDNotFound {
		return fmt.Errorf("expected GROUP_ID_NOT_FOUND, got %v", err)
	}
	return nil
}

// checkGroups runs all checks of groups.
func checkGroups() {
	check("group of three, defaults", groupOfThree("defaults"))
	check("group of three, range", groupOfThree("range", kgo.Balancers(kgo.RangeBalancer())))
	check("group of three, round robin", groupOfThree("robin", kgo.Balancers(kgo.RoundRobinBalancer())))
	check("admin: commit, lag, list, delete", groupAdmin)
}
