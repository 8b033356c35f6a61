// Package stand is the conversation with what runs the brokers, in lines: it makes faults, and judges the group's
// commits.
package stand

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// Stand is one conversation, about one group.
type Stand struct {
	connection net.Conn
	reader     *bufio.Reader
}

// Open begins a conversation.
func Open() (*Stand, error) {
	connection, err := net.Dial("tcp", os.Getenv("WALSER_STAND"))
	if err != nil {
		return nil, err
	}
	return &Stand{connection, bufio.NewReader(connection)}, nil
}

// Close ends it.
func (s *Stand) Close() error { return s.connection.Close() }

// Ask waits for the answer to a line.
func (s *Stand) Ask(line string) (string, error) {
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

// Number is the last word of an answer.
func (s *Stand) Number(line string) (int, error) {
	answer, err := s.Ask(line)
	if err != nil {
		return 0, err
	}
	var word string
	var number int
	_, err = fmt.Sscan(answer, &word, &number)
	return number, err
}

// Count is what becomes of a question for a number.
type Count struct {
	Count int
	Err   error
}

// Begin asks for a number, which comes when it is there.
func (s *Stand) Begin(line string) <-chan Count {
	over := make(chan Count, 1)
	go func() {
		count, err := s.Number(line)
		over <- Count{count, err}
	}()
	return over
}
