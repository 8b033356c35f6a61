// sarama: admin, idempotent producing with every codec, consuming by assignment, groups; with the word "faults",
// a group whose coordinator is killed.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

const (
	partitions = 6
	perPart    = 200
)

var (
	seeds  []string
	prefix string
	admin  sarama.ClusterAdmin
)

func check(name string, body func() (string, error)) {
	said, err := body()
	if err != nil {
		fmt.Printf("FAIL %s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	if said != "" {
		said = ": " + said
	}
	fmt.Printf("PASS %s%s\n", name, said)
}

func quietly(body func() error) func() (string, error) {
	return func() (string, error) { return "", body() }
}

func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.ClientID = "walser-sarama"
	config.Version = sarama.MaxVersion
	config.Metadata.RefreshFrequency = time.Second
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	return config
}

func create(topic string) error {
	copies := int16(-1)
	return admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: copies}, false)
}

func codecs() map[string]sarama.CompressionCodec {
	return map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
		"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}
}

func value(codec string, partition, number int) string {
	return strings.Repeat(fmt.Sprintf("%s-%d-%d ", codec, partition, number), number%50+1)
}

func send(codec sarama.CompressionCodec, sent []*sarama.ProducerMessage) error {
	config := settings()
	config.Producer.Compression = codec
	producer, err := sarama.NewSyncProducer(seeds, config)
	if err != nil {
		return err
	}
	if err := producer.SendMessages(sent); err != nil {
		return err
	}
	return producer.Close()
}

// both sends with a codec and reads by assignment: offsets, keys, values and headers are those that were sent.
func both(codec string) error {
	topic := prefix + codec
	if err := create(topic); err != nil {
		return err
	}
	var sent []*sarama.ProducerMessage
	for partition := range partitions {
		for number := range perPart {
			sent = append(sent, &sarama.ProducerMessage{
				Topic: topic, Partition: int32(partition), Key: sarama.StringEncoder(fmt.Sprint(number)),
				Value:   sarama.StringEncoder(value(codec, partition, number)),
				Headers: []sarama.RecordHeader{{Key: []byte("codec"), Value: []byte(codec)}},
			})
		}
	}
	if err := send(codecs()[codec], sent); err != nil {
		return err
	}
	consumer, err := sarama.NewConsumer(seeds, settings())
	if err != nil {
		return err
	}
	defer consumer.Close()
	for partition := range partitions {
		if err := readBack(consumer, topic, codec, partition); err != nil {
			return err
		}
	}
	return nil
}

func readBack(consumer sarama.Consumer, topic, codec string, partition int) error {
	part, err := consumer.ConsumePartition(topic, int32(partition), sarama.OffsetOldest)
	if err != nil {
		return err
	}
	defer part.Close()
	for number := range perPart {
		select {
		case found := <-part.Messages():
			same := found.Offset == int64(number) && string(found.Key) == fmt.Sprint(number) &&
				string(found.Value) == value(codec, partition, number) &&
				len(found.Headers) == 1 && string(found.Headers[0].Value) == codec
			if !same {
				return fmt.Errorf("partition %d: record %d is another one, at offset %d", partition, number, found.Offset)
			}
		case <-time.After(30 * time.Second):
			return fmt.Errorf("partition %d: no record %d", partition, number)
		}
	}
	return nil
}

func administer() error {
	topic := prefix + "admin"
	if err := create(topic); err != nil {
		return err
	}
	if err := create(topic); !errors.Is(err, sarama.ErrTopicAlreadyExists) {
		return fmt.Errorf("expected that the topic exists, got %v", err)
	}
	hour := "3600000"
	if err := admin.AlterConfig(sarama.TopicResource, topic, map[string]*string{"retention.ms": &hour}, false); err != nil {
		return err
	}
	found, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"retention.ms"}})
	if err != nil {
		return err
	}
	if len(found) != 1 || found[0].Value != hour {
		return fmt.Errorf("retention.ms is %v", found)
	}
	if err := admin.CreatePartitions(topic, partitions+1, nil, false); err != nil {
		return err
	}
	described, err := admin.DescribeTopics([]string{topic})
	if err != nil {
		return err
	}
	if count := len(described[0].Partitions); count != partitions+1 {
		return fmt.Errorf("%d partitions", count)
	}
	return admin.DeleteTopic(topic)
}

func run(mode string) {
	if mode == "faults" {
		check("kill and restart, range", func() (string, error) { return underFaults("range", sarama.NewBalanceStrategyRange()) })
		check("kill and restart, sticky", func() (string, error) { return underFaults("sticky", sarama.NewBalanceStrategySticky()) })
		return
	}
	check("admin: topics, configs", quietly(administer))
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		check("idempotent, "+codec, quietly(func() error { return both(codec) }))
	}
	check("group of three, range", quietly(func() error { return groupOfThree("range", sarama.NewBalanceStrategyRange()) }))
	check("group of three, sticky", quietly(func() error { return groupOfThree("sticky", sarama.NewBalanceStrategySticky()) }))
	check("a member dies", quietly(memberDies))
	check("admin: groups", quietly(administerGroups))
}

func main() {
	seeds = strings.Split(os.Args[1], ",")
	prefix = "sarama-" + os.Args[2] + "-"
	mode := ""
	if len(os.Args) > 3 {
		mode = os.Args[3]
	}
	var err error
	if admin, err = sarama.NewClusterAdmin(seeds, settings()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if mode == "member" {
		beMember(os.Args[4])
		return
	}
	run(mode)
	fmt.Println("DONE")
}
