// franz-go: admin, idempotent producing with every codec, consuming by assignment; with the word "groups", groups; with
// the word "faults", groups whose coordinator is killed.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	partitions = 3
	perPart    = 200
)

var (
	seeds []string
	topic string
	admin *kadm.Client
)

func check(name string, body func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := body(ctx); err != nil {
		fmt.Printf("FAIL %s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	fmt.Printf("PASS %s\n", name)
}

func client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(seeds...)}, options...)...)
}

func value(codec string, partition, number int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("%s-%d-%d ", codec, partition, number)), number%50+1)
}

func create(ctx context.Context) error {
	names := []string{topic}
	for codec := range codecs() {
		names = append(names, topic+"-"+codec)
	}
	answers, err := admin.CreateTopics(ctx, partitions, -1, nil, names...)
	if err != nil {
		return err
	}
	for _, one := range answers.Sorted() {
		if one.Err != nil {
			return one.Err
		}
		if (one.ID == kadm.TopicID{}) {
			return fmt.Errorf("%s has no topic id", one.Topic)
		}
	}
	return nil
}

func createAgain(ctx context.Context) error {
	_, err := admin.CreateTopic(ctx, 1, 1, nil, topic)
	if err != kerr.TopicAlreadyExists {
		return fmt.Errorf("expected TOPIC_ALREADY_EXISTS, got %v", err)
	}
	return nil
}

func codecs() map[string]kgo.CompressionCodec {
	return map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
}

func produce(codec string) func(context.Context) error {
	return func(ctx context.Context) error {
		producer, err := client(
			kgo.ProducerBatchCompression(codecs()[codec]), kgo.RequiredAcks(kgo.AllISRAcks()),
			kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(10*time.Millisecond),
		)
		if err != nil {
			return err
		}
		defer producer.Close()
		var sent []*kgo.Record
		for partition := 0; partition < partitions; partition++ {
			for number := 0; number < perPart; number++ {
				sent = append(sent, &kgo.Record{
					Topic: topic + "-" + codec, Partition: int32(partition), Value: value(codec, partition, number),
					Key: []byte(fmt.Sprint(number)), Headers: []kgo.RecordHeader{{Key: "codec", Value: []byte(codec)}},
				})
			}
		}
		results := producer.ProduceSync(ctx, sent...)
		if err := results.FirstErr(); err != nil {
			return err
		}
		for index, record := range sent {
			if record.Offset != int64(index%perPart) {
				return fmt.Errorf("record %d of partition %d at offset %d", index%perPart, record.Partition, record.Offset)
			}
		}
		return nil
	}
}

func consume(codec string, from int) func(context.Context) error {
	return func(ctx context.Context) error {
		offsets := map[int32]kgo.Offset{}
		for partition := 0; partition < partitions; partition++ {
			offsets[int32(partition)] = kgo.NewOffset().At(int64(from))
		}
		consumer, err := client(
			kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic + "-" + codec: offsets}),
			kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		)
		if err != nil {
			return err
		}
		defer consumer.Close()
		next := make([]int, partitions)
		for missing := partitions * (perPart - from); missing > 0; {
			fetches := consumer.PollFetches(ctx)
			if errs := fetches.Errors(); len(errs) > 0 {
				return errs[0].Err
			}
			var wrong error
			fetches.EachRecord(func(record *kgo.Record) {
				number := next[record.Partition] + from
				expected := value(codec, int(record.Partition), number)
				if wrong == nil && (record.Offset != int64(number) || !bytes.Equal(record.Value, expected)) {
					wrong = fmt.Errorf("partition %d: offset %d instead of %d, or another value", record.Partition, record.Offset, number)
				}
				next[record.Partition]++
				missing--
			})
			if wrong != nil {
				return wrong
			}
		}
		return nil
	}
}

func offsets(ctx context.Context) error {
	name := topic + "-none"
	low, err := admin.ListStartOffsets(ctx, name)
	if err != nil {
		return err
	}
	high, err := admin.ListEndOffsets(ctx, name)
	if err != nil {
		return err
	}
	for partition := int32(0); partition < partitions; partition++ {
		start, _ := low.Lookup(name, partition)
		end, _ := high.Lookup(name, partition)
		if start.Err != nil || end.Err != nil || start.Offset != 0 || end.Offset != perPart {
			return fmt.Errorf("partition %d: %d..%d, %v %v", partition, start.Offset, end.Offset, start.Err, end.Err)
		}
	}
	return nil
}

func configs(ctx context.Context) error {
	value := "12345678"
	answers, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}, topic)
	if err != nil {
		return err
	}
	for _, one := range answers {
		if one.Err != nil {
			return one.Err
		}
	}
	for try := 0; try < 100; try++ {
		found, err := admin.DescribeTopicConfigs(ctx, topic)
		if err != nil {
			return err
		}
		resource, err := found.On(topic, nil)
		if err != nil || resource.Err != nil {
			return fmt.Errorf("%v %v", err, resource.Err)
		}
		for _, config := range resource.Configs {
			if config.Key == "retention.ms" && config.MaybeValue() == value {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("retention.ms is not shown as %s", value)
}

func metadata(ctx context.Context) error {
	found, err := admin.Metadata(ctx, topic)
	if err != nil {
		return err
	}
	if found.Cluster == "" || found.Controller < 0 || len(found.Brokers) == 0 {
		return fmt.Errorf("cluster %q, controller %d, %d brokers", found.Cluster, found.Controller, len(found.Brokers))
	}
	if count := len(found.Topics[topic].Partitions); count != partitions {
		return fmt.Errorf("%d partitions", count)
	}
	return nil
}

func remove(ctx context.Context) error {
	answers, err := admin.DeleteTopics(ctx, topic)
	if err != nil {
		return err
	}
	if err := answers[topic].Err; err != nil {
		return err
	}
	for try := 0; try < 20; try++ {
		// A client of its own each time: kadm answers from what it has seen before.
		listed, err := isListed(ctx)
		if err != nil {
			return err
		}
		if !listed {
			return nil
		}
		time.Sleep(250 * time.Millisecond)
	}
	return fmt.Errorf("still listed after 5 s")
}

func isListed(ctx context.Context) (bool, error) {
	fresh, err := client()
	if err != nil {
		return false, err
	}
	defer fresh.Close()
	found, err := kadm.NewClient(fresh).ListTopics(ctx)
	return err == nil && found.Has(topic), err
}

func main() {
	seeds, topic = strings.Split(os.Args[1], ","), "franz-"+os.Args[2]
	shared, err := client()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer shared.Close()
	admin = kadm.NewClient(shared)
	if len(os.Args) > 3 {
		map[string]func(){"groups": checkGroups, "faults": checkFaults}[os.Args[3]]()
		fmt.Println("DONE")
		return
	}
	check("create topics", create)
	check("create topic twice", createAgain)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		check("produce "+codec+", idempotent", produce(codec))
		check("consume "+codec, consume(codec, 0))
	}
	check("consume from the middle", consume("gzip", 120))
	check("start and end offsets", offsets)
	check("alter and describe configs", configs)
	check("metadata", metadata)
	check("delete topic", remove)
	fmt.Println("DONE")
}
