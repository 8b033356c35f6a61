package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// Groups: three members share a topic, read all of it, commit, leave; the next one begins where they were.

const (
	groupCount = 50
	patience   = 60 * time.Second
)

// member is one consumer of a group; sarama calls it from a goroutine for each partition.
type member struct {
	topic string
	group sarama.ConsumerGroup
	stop  context.CancelFunc
	done  sync.WaitGroup

	lock     sync.Mutex
	session  sarama.ConsumerGroupSession
	assigned []int32
	read     []string
	failed   error
}

func join(topic string, strategy sarama.BalanceStrategy) (*member, error) {
	config := settings()
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy}
	config.Consumer.Group.Session.Timeout = 10 * time.Second
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Return.Errors = true
	config.Consumer.MaxWaitTime = 200 * time.Millisecond
	group, err := sarama.NewConsumerGroup(seeds, topic, config)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &member{topic: topic, group: group, stop: stop}
	m.done.Add(1)
	go m.consume(ctx)
	go func() {
		for err := range group.Errors() {
			fmt.Fprintf(os.Stderr, "%s: %v\n", topic, err)
		}
	}()
	return m, nil
}

// consume runs one session after the other: each ends with a rebalance, or with an error after which it is tried again.
func (m *member) consume(ctx context.Context) {
	defer m.done.Done()
	for ctx.Err() == nil {
		err := m.group.Consume(ctx, []string{m.topic}, m)
		if errors.Is(err, sarama.ErrClosedConsumerGroup) {
			return
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", m.topic, err)
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.session = session
	m.assigned = session.Claims()[m.topic]
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.session = nil
	m.assigned = nil
	return nil
}

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case record, open := <-claim.Messages():
			if !open {
				return nil
			}
			session.MarkMessage(record, "")
			m.lock.Lock()
			m.read = append(m.read, fmt.Sprintf("%d %s", record.Partition, record.Value))
			m.lock.Unlock()
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *member) commit() {
	m.lock.Lock()
	session := m.session
	m.lock.Unlock()
	if session != nil {
		session.Commit()
	}
}

func (m *member) leave() error {
	m.stop()
	m.done.Wait()
	return m.group.Close()
}

func (m *member) look() ([]int32, []string) {
	m.lock.Lock()
	defer m.lock.Unlock()
	return append([]int32(nil), m.assigned...), append([]string(nil), m.read...)
}

// shared: everybody has something, nobody has the same, and all of them have so many.
func shared(members []*member, wanted int) func() bool {
	return func() bool {
		seen, sum := map[int32]bool{}, 0
		for _, one := range members {
			assigned, _ := one.look()
			if len(assigned) == 0 {
				return false
			}
			sum += len(assigned)
			for _, partition := range assigned {
				seen[partition] = true
			}
		}
		return sum == wanted && len(seen) == wanted
	}
}

// counted is how often each record was read.
func counted(members []*member) map[string]int {
	seen := map[string]int{}
	for _, one := range members {
		_, read := one.look()
		for _, value := range read {
			seen[value]++
		}
	}
	return seen
}

func eventually(what string, within time.Duration, holds func() bool) error {
	for deadline := time.Now().Add(within); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not in time", what)
		}
	}
	return nil
}

func produceGroup(topic string, first, count int) error {
	var sent []*sarama.ProducerMessage
	for partition := range partitions {
		for number := first; number < first+count; number++ {
			value := sarama.StringEncoder(fmt.Sprintf("%d-%d", partition, number))
			sent = append(sent, &sarama.ProducerMessage{Topic: topic, Partition: int32(partition), Value: value})
		}
	}
	return send(sarama.CompressionNone, sent)
}

// complete compares what was read with one round of records; with repeats, each may have come more than once.
func complete(members []*member, first, count int, repeats bool) error {
	seen := counted(members)
	for partition := range partitions {
		for number := first; number < first+count; number++ {
			value := fmt.Sprintf("%d %d-%d", partition, partition, number)
			if times := seen[value]; times == 0 || times > 1 && !repeats {
				return fmt.Errorf("%s was read %d times", value, times)
			}
			delete(seen, value)
		}
	}
	if len(seen) != 0 {
		return fmt.Errorf("%d records of another round", len(seen))
	}
	return nil
}

// group is the members of one check; all of them leave at its end.
type group []*member

func (g *group) join(topic string, strategy sarama.BalanceStrategy, count int) error {
	for range count {
		one, err := join(topic, strategy)
		if err != nil {
			return err
		}
		*g = append(*g, one)
	}
	return nil
}

// leave commits for all before the first one goes: its going is a rebalance, which ends the others' sessions.
func (g *group) leave() (err error) {
	for _, one := range *g {
		one.commit()
	}
	for _, one := range *g {
		err = errors.Join(err, one.leave())
	}
	*g = nil
	return err
}

// comeBack: whoever joins after the others have left reads what was produced since, and nothing else.
func comeBack(topic string, strategy sarama.BalanceStrategy, first, count int) error {
	var members group
	defer members.leave()
	if err := members.join(topic, strategy, 1); err != nil {
		return err
	}
	all := func() bool { return len(counted(members)) >= partitions*count }
	if err := eventually("coming back", patience, all); err != nil {
		return err
	}
	return complete(members, first, count, false)
}

func groupOfThree(kind string, strategy sarama.BalanceStrategy) error {
	topic := prefix + "group-" + kind
	if err := create(topic); err != nil {
		return err
	}
	var members group
	defer members.leave()
	if err := members.join(topic, strategy, 3); err != nil {
		return err
	}
	if err := eventually("sharing", patience, shared(members, partitions)); err != nil {
		return err
	}
	if err := produceGroup(topic, 0, groupCount); err != nil {
		return err
	}
	all := func() bool { return len(counted(members)) >= partitions*groupCount }
	if err := eventually("reading", patience, all); err != nil {
		return err
	}
	if err := complete(members, 0, groupCount, false); err != nil {
		return err
	}
	if err := members.leave(); err != nil {
		return err
	}
	if err := produceGroup(topic, groupCount, 10); err != nil {
		return err
	}
	return comeBack(topic, strategy, groupCount, 10)
}

// beMember is the life of the process that gets killed.
func beMember(topic string) {
	if _, err := join(topic, sarama.NewBalanceStrategyRange()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}

// memberDies: a member in a process of its own is killed and leaves nothing behind; the others get what it had.
func memberDies() error {
	topic := prefix + "dies"
	strategy := sarama.NewBalanceStrategyRange()
	if err := create(topic); err != nil {
		return err
	}
	child := exec.Command(os.Args[0], os.Args[1], os.Args[2], "member", topic)
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		return err
	}
	defer child.Wait()
	defer child.Process.Kill()
	var members group
	defer members.leave()
	if err := members.join(topic, strategy, 2); err != nil {
		return err
	}
	// The third of the partitions is the child's.
	if err := eventually("sharing with the third", patience, shared(members, partitions/3*2)); err != nil {
		return err
	}
	if err := child.Process.Kill(); err != nil {
		return err
	}
	if err := produceGroup(topic, 0, groupCount); err != nil {
		return err
	}
	if err := eventually("taking over", patience, shared(members, partitions)); err != nil {
		return err
	}
	all := func() bool { return len(counted(members)) >= partitions*groupCount }
	if err := eventually("reading", patience, all); err != nil {
		return err
	}
	// What was read and not committed before it died is read again.
	return complete(members, 0, groupCount, true)
}

func administerGroups() error {
	topic := prefix + "group-admin"
	if err := create(topic); err != nil {
		return err
	}
	var members group
	defer members.leave()
	if err := members.join(topic, sarama.NewBalanceStrategyRange(), 1); err != nil {
		return err
	}
	if err := eventually("joining", patience, shared(members, partitions)); err != nil {
		return err
	}
	listed, err := admin.ListConsumerGroups()
	if err != nil {
		return err
	}
	if kind, found := listed[topic]; !found || kind != "consumer" {
		return fmt.Errorf("listed as %q", kind)
	}
	described, err := admin.DescribeConsumerGroups([]string{topic})
	if err != nil {
		return err
	}
	if described[0].State != "Stable" || len(described[0].Members) != 1 {
		return fmt.Errorf("%s with %d members", described[0].State, len(described[0].Members))
	}
	if err := admin.DeleteConsumerGroup(topic); !errors.Is(err, sarama.ErrNonEmptyGroup) {
		return fmt.Errorf("expected that the group is not empty, got %v", err)
	}
	if err := produceGroup(topic, 0, 10); err != nil {
		return err
	}
	all := func() bool { return len(counted(members)) >= partitions*10 }
	if err := eventually("reading", patience, all); err != nil {
		return err
	}
	if err := members.leave(); err != nil {
		return err
	}
	offsets, err := admin.ListConsumerGroupOffsets(topic, map[string][]int32{topic: {0, 5}})
	if err != nil {
		return err
	}
	for _, partition := range []int32{0, 5} {
		if block := offsets.GetBlock(topic, partition); block == nil || block.Offset != 10 {
			return fmt.Errorf("partition %d: %+v", partition, block)
		}
	}
	if err := admin.DeleteConsumerGroupOffset(topic, topic, 0); err != nil {
		return err
	}
	return admin.DeleteConsumerGroup(topic)
}
