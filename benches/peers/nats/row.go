package main

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Clock ticks a second in /proc, the same on every Linux that Go runs on.
const ticks = 100

// Row has the names of `load`'s rows.
type Row struct {
	Acked     uint64             `json:"acked"`
	Rate      float64            `json:"acks_per_second"`
	Bytes     float64            `json:"bytes_per_second"`
	Offered   *float64           `json:"offered_per_second"`
	WindowMs  int64              `json:"window_ms"`
	LatencyMs map[string]float64 `json:"latency_ms"`
	LagMs     *float64           `json:"generator_lag_p99_ms"`
	Errors    map[string]uint64  `json:"errors"`
	ReadBack  map[string]uint64  `json:"read_back"`
	Cores     *float64           `json:"cpu_cores"`
	Void      []string           `json:"void"`
}

func newRow(load Load, outcome *Outcome, stored uint64) Row {
	seconds := load.measured.Seconds()
	rate := float64(outcome.acks) / seconds
	slices.Sort(outcome.latency)
	slices.Sort(outcome.lag)
	row := Row{
		Acked:    outcome.acks,
		Rate:     rate,
		Bytes:    rate * float64(load.size),
		WindowMs: load.measured.Milliseconds(),
		LatencyMs: map[string]float64{
			"p50":  quantile(outcome.latency, 0.5),
			"p90":  quantile(outcome.latency, 0.9),
			"p99":  quantile(outcome.latency, 0.99),
			"p999": quantile(outcome.latency, 0.999),
			"max":  quantile(outcome.latency, 1),
		},
		Errors:   outcome.errors,
		ReadBack: map[string]uint64{"acked": outcome.allAcks, "found": stored},
		Void:     []string{},
	}
	if outcome.cpuKnown {
		cores := outcome.cpuSeconds / seconds
		row.Cores = &cores
	}
	if load.rate > 0 {
		lag := quantile(outcome.lag, 0.99)
		row.Offered, row.LagMs = &load.rate, &lag
	}
	row.judge()
	return row
}

// judge says why the row proves nothing, by the rules of `load`.
func (row *Row) judge() {
	void := func(why string) { row.Void = append(row.Void, why) }
	if len(row.Errors) > 0 {
		void("some requests failed")
	}
	if row.LagMs != nil && *row.LagMs*10 > row.LatencyMs["p99"] {
		void("the generator's p99 lag is over a tenth of the p99")
	}
	if row.Offered != nil && row.Rate < 0.95**row.Offered {
		void("less than 95 % of what was offered was acknowledged in the window")
	}
	if row.ReadBack["found"] != row.ReadBack["acked"] {
		void("acknowledged records are not in their streams")
	}
}

// quantile of sorted nanoseconds, in milliseconds.
func quantile(sorted []int64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := min(int(share*float64(len(sorted))), len(sorted)-1)
	return float64(sorted[at]) / 1e6
}

// sampleProcessors takes the servers' user and system time at both ends of the window.
func (outcome *Outcome) sampleProcessors(pids []string) {
	if len(pids) == 0 {
		return
	}
	time.Sleep(time.Until(outcome.from))
	before, known := processorSeconds(pids)
	time.Sleep(time.Until(outcome.end))
	after, stillKnown := processorSeconds(pids)
	outcome.cpuSeconds, outcome.cpuKnown = after-before, known && stillKnown
}

func processorSeconds(pids []string) (float64, bool) {
	var sum float64
	for _, pid := range pids {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			return 0, false
		}
		// The name stands in parentheses and may itself hold some.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, field := range fields[11:13] {
			count, err := strconv.ParseUint(field, 10, 64)
			if err != nil {
				return 0, false
			}
			sum += float64(count) / ticks
		}
	}
	return sum, true
}
