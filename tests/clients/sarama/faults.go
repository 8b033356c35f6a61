package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

// stand is the conversation with what runs the brokers, in lines: it makes faults, and judges the group's commits.
type stand struct {
	connection net.Conn
	reader     *bufio.Reader
}

func openStand() (*stand, error) {
	connection, err := net.Dial("tcp", os.Getenv("WALSER_STAND"))
	if err != nil {
		return nil, err
	}
	return &stand{connection, bufio.NewReader(connection)}, nil
}

func (s *stand) ask(line string) (string, error) {
	if err := s.connection.SetDeadline(time.Now().Add(4 * time.Minute)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(s.connection, line); err != nil {
		return "", err
	}
	answer, err := s.reader.ReadString('\n')
	answer = strings.TrimSpace(answer)
	if err == nil && strings.HasPrefix(answer, "wrong") {
		err = errors.New(answer)
	}
	return answer, err
}

// number is the last word of an answer.
func (s *stand) number(line string) (int, error) {
	answer, err := s.ask(line)
	if err != nil {
		return 0, err
	}
	var word string
	var number int
	_, err = fmt.Sscan(answer, &word, &number)
	return number, err
}

// underFaults: a group of three reads a topic while its coordinator is killed in a rebalance and then stopped in
// order; the next member begins where they were.
func underFaults(kind string, strategy sarama.BalanceStrategy) (string, error) {
	topic := prefix + "faults-" + kind
	stand, err := openStand()
	if err != nil {
		return "", err
	}
	defer stand.connection.Close()
	if _, err := stand.ask("group " + topic); err != nil {
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
	type answer struct {
		count int
		err   error
	}
	over := make(chan answer, 1)
	go func() {
		count, err := stand.number("faults")
		over <- answer{count, err}
	}()
	if err := members.join(topic, strategy, 1); err != nil {
		return "", err
	}
	for _, one := range members {
		go one.keepCommitting(ended)
	}
	faults := <-over
	if faults.err != nil {
		return "", faults.err
	}
	all := func() bool { return len(counted(members)) >= partitions*faults.count }
	if err := eventually("reading all", patience, all); err != nil {
		return "", err
	}
	if err := complete(members, 0, faults.count, true); err != nil {
		return "", err
	}
	verdict, err := stand.ask("judge")
	if err != nil {
		return "", err
	}
	if err := members.leave(); err != nil {
		return "", err
	}
	after, err := stand.number("more")
	if err != nil {
		return "", err
	}
	return verdict, comeBack(topic, strategy, faults.count, after-faults.count)
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
