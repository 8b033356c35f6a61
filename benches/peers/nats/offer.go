package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	drain = 10 * time.Second
	// PR_SET_TIMERSLACK: timers fire when they are due and not 50 us later.
	timerSlack = 29
)

// Outcome is what came of a load.
type Outcome struct {
	asked, answered  atomic.Int64
	acks, allAcks    uint64
	latency, lag     []int64
	errors           map[string]uint64
	sequences        map[string]map[uint64]bool
	cpuSeconds       float64
	cpuKnown         bool
	start, from, end time.Time
}

// producer is one connection. Its answers are handled one after the other.
type producer struct {
	connection *nats.Conn
	inbox      string
	subjects   []string
	turn       atomic.Int64
	payload    []byte
	// When the request of each slot was sent, closed loop.
	since   []atomic.Int64
	outcome *Outcome
	rate    float64
	acks    uint64
	all     []acked
	latency []int64
	errors  map[string]uint64
}

type acked struct {
	stream   string
	sequence uint64
}

func offer(load Load, streams *Streams) (*Outcome, error) {
	outcome := &Outcome{errors: map[string]uint64{}, sequences: map[string]map[uint64]bool{}}
	var producers []*producer
	defer func() {
		for _, producer := range producers {
			producer.connection.Close()
		}
	}()
	for number := range load.connections {
		producer, err := connect(load, streams, outcome, number)
		if err != nil {
			return nil, err
		}
		producers = append(producers, producer)
	}
	outcome.start = time.Now().Add(20 * time.Millisecond)
	outcome.from = outcome.start.Add(load.warm)
	outcome.end = outcome.from.Add(load.measured)
	var sampled sync.WaitGroup
	sampled.Add(1)
	go func() {
		defer sampled.Done()
		outcome.sampleProcessors(load.pids)
	}()
	if load.rate > 0 {
		outcome.pace(load.rate, producers)
	} else {
		time.Sleep(time.Until(outcome.start))
		for _, producer := range producers {
			for slot := range load.inflight {
				producer.fill(slot)
			}
		}
	}
	time.Sleep(time.Until(outcome.end))
	for deadline := time.Now().Add(drain); outcome.asked.Load() > outcome.answered.Load() && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	sampled.Wait()
	return outcome, outcome.gather(producers)
}

func connect(load Load, streams *Streams, outcome *Outcome, number int) (*producer, error) {
	leader := streams.leaders[number%len(streams.leaders)]
	url, known := load.servers[leader]
	if !known {
		return nil, fmt.Errorf("%s is no server of these", leader)
	}
	connection, err := nats.Connect(url, nats.NoReconnect())
	if err != nil {
		return nil, err
	}
	payload := make([]byte, load.size)
	if _, err := rand.Read(payload); err != nil {
		return nil, err
	}
	one := &producer{
		connection: connection,
		inbox:      nats.NewInbox(),
		subjects:   streams.byLeader[leader],
		payload:    payload,
		since:      make([]atomic.Int64, load.inflight),
		outcome:    outcome,
		rate:       load.rate,
		errors:     map[string]uint64{},
	}
	one.turn.Store(int64(number / len(streams.leaders)))
	if _, err := connection.Subscribe(one.inbox+".*", one.answered); err != nil {
		return nil, err
	}
	return one, connection.Flush()
}

// fill sends the next request of a slot.
func (one *producer) fill(slot int) {
	one.since[slot].Store(int64(time.Since(one.outcome.start)))
	one.send(int64(slot))
}

func (one *producer) send(id int64) {
	turn := one.turn.Add(1) - 1
	subject := one.subjects[turn%int64(len(one.subjects))]
	one.outcome.asked.Add(1)
	reply := one.inbox + "." + strconv.FormatInt(id, 10)
	if err := one.connection.PublishRequest(subject, reply, one.payload); err != nil {
		// No answer will come; it stays unanswered and is counted so.
		return
	}
}

// answered settles one request and, in a closed loop, sends the next.
func (one *producer) answered(answer *nats.Msg) {
	now := time.Now()
	outcome := one.outcome
	defer outcome.answered.Add(1)
	id, err := strconv.ParseInt(answer.Subject[len(one.inbox)+1:], 10, 64)
	if err != nil {
		one.errors["an answer to nobody"]++
		return
	}
	since := outcome.start
	if one.rate > 0 {
		since = since.Add(due(id, one.rate))
	} else {
		since = since.Add(time.Duration(one.since[id].Load()))
	}
	stream, sequence, why := pubAck(answer)
	if why != "" {
		one.errors[why]++
	} else {
		one.all = append(one.all, acked{stream, sequence})
		if !now.Before(outcome.from) && now.Before(outcome.end) {
			one.acks++
		}
		if !since.Before(outcome.from) && since.Before(outcome.end) {
			one.latency = append(one.latency, int64(now.Sub(since)))
		}
	}
	if one.rate == 0 && now.Before(outcome.end) {
		one.fill(int(id))
	}
}

// pubAck reads {"stream":"S0","seq":7} without a decoder: it would cost the cores that the servers need as well.
func pubAck(answer *nats.Msg) (stream string, sequence uint64, why string) {
	if bytes.Contains(answer.Data, []byte(`"error"`)) || bytes.Contains(answer.Data, []byte(`"duplicate"`)) {
		return "", 0, string(answer.Data)
	}
	_, rest, found := bytes.Cut(answer.Data, []byte(`"stream":"`))
	name, rest, closed := bytes.Cut(rest, []byte(`"`))
	_, rest, numbered := bytes.Cut(rest, []byte(`"seq":`))
	for _, digit := range bytes.TrimLeft(rest, " ") {
		if digit < '0' || digit > '9' {
			break
		}
		sequence = sequence*10 + uint64(digit-'0')
	}
	if !found || !closed || !numbered || sequence == 0 {
		return "", 0, fmt.Sprintf("no PubAck: %q %v", answer.Data, answer.Header)
	}
	return string(name), sequence, ""
}

func due(number int64, rate float64) time.Duration {
	return time.Duration(float64(number) / rate * float64(time.Second))
}

// pace sends each request at its instant, the connections in turn, whatever comes back.
func (outcome *Outcome) pace(rate float64, producers []*producer) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Where it is refused the lag shows it.
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, timerSlack, 1, 0)
	for number := int64(0); ; number++ {
		at := outcome.start.Add(due(number, rate))
		if !at.Before(outcome.end) {
			return
		}
		if wait := time.Until(at); wait > 0 {
			// The runtime's own timers are due in whole milliseconds. A signal may end it early: that shows as no lag.
			nap := syscall.NsecToTimespec(int64(wait))
			_ = syscall.Nanosleep(&nap, nil)
		}
		producers[number%int64(len(producers))].send(number)
		if !at.Before(outcome.from) {
			outcome.lag = append(outcome.lag, max(int64(time.Since(at)), 0))
		}
	}
}

// gather adds up what the connections saw.
func (outcome *Outcome) gather(producers []*producer) error {
	for _, one := range producers {
		// Ends the handling of answers: nothing is written to the producer from here on.
		one.connection.Close()
	}
	if unanswered := outcome.asked.Load() - outcome.answered.Load(); unanswered > 0 {
		outcome.errors["unanswered"] = uint64(unanswered)
		time.Sleep(100 * time.Millisecond)
	}
	for _, one := range producers {
		outcome.acks += one.acks
		outcome.allAcks += uint64(len(one.all))
		outcome.latency = append(outcome.latency, one.latency...)
		for why, count := range one.errors {
			outcome.errors[why] += count
		}
		for _, ack := range one.all {
			if outcome.sequences[ack.stream] == nil {
				outcome.sequences[ack.stream] = map[uint64]bool{}
			}
			outcome.sequences[ack.stream][ack.sequence] = true
		}
	}
	if outcome.allAcks == 0 {
		return fmt.Errorf("nothing was acknowledged: %v", outcome.errors)
	}
	return nil
}
