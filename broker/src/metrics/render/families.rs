//! Builds the library's metric families out of plain figures.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::metrics::Reading;
use crate::metrics::node::GroupMetrics;

/// Label names and values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A family with a row per group: name, help, and the row's value.
pub type OfGroup = (&'static str, &'static str, fn(&GroupMetrics) -> f64);

/// Families in the order of their first row.
#[derive(Default)]
pub struct Families {
    done: Vec<MetricFamily>,
}

/// A family that is being filled. NB: a family without a row is left out, as the text format has no such thing.
pub struct Family<'a> {
    families: &'a mut Families,
    kind: MetricType,
    name: &'static str,
    help: &'static str,
    rows: Vec<Metric>,
}

impl Families {
    /// A family of counters; the name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        assert!(name.ends_with("_total"), "{name} is a counter");
        self.family(MetricType::COUNTER, name, help)
    }

    /// A family of gauges.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(MetricType::GAUGE, name, help)
    }

    /// A family of histograms.
    pub fn histogram(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(MetricType::HISTOGRAM, name, help)
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<MetricFamily> {
        self.done
    }

    fn family(&mut self, kind: MetricType, name: &'static str, help: &'static str) -> Family<'_> {
        Family {
            families: self,
            kind,
            name,
            help,
            rows: Vec::new(),
        }
    }
}

impl Family<'_> {
    /// Adds a row with a value.
    #[allow(clippy::cast_precision_loss)]
    pub fn row(self, labels: Labels<'_>, value: u64) -> Self {
        self.value(labels, value as f64)
    }

    /// Adds a row with a value that is not a count.
    pub fn value(mut self, labels: Labels<'_>, value: f64) -> Self {
        let mut metric = labelled(labels);
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.rows.push(metric);
        self
    }

    /// Adds a row with a histogram's buckets. One without bounds is not measured, and left out.
    pub fn buckets(mut self, labels: Labels<'_>, reading: &Reading) -> Self {
        if reading.bounds.is_empty() {
            return self;
        }
        let mut histogram = Histogram::default();
        let mut below = 0;
        let buckets = reading
            .bounds
            .iter()
            .zip(&reading.counts)
            .map(|(bound, count)| {
                below += count;
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(*bound);
                bucket.set_cumulative_count(below);
                bucket
            });
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(reading.count());
        histogram.set_sample_sum(reading.sum);
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.rows.push(metric);
        self
    }

    /// Adds a row for each group, with its topic and partition.
    pub fn groups(self, groups: &[GroupMetrics], value: fn(&GroupMetrics) -> f64) -> Self {
        self.each(groups, |family, group| {
            let partition = group.partition.to_string();
            let labels = [
                ("topic", group.topic.as_str()),
                ("partition", partition.as_str()),
            ];
            family.value(&labels, value(group))
        })
    }

    /// Adds a row for each item.
    pub fn each<T>(
        self,
        items: impl IntoIterator<Item = T>,
        add: impl Fn(Self, T) -> Self,
    ) -> Self {
        items.into_iter().fold(self, add)
    }

    /// The family is complete.
    pub fn end(self) {
        if self.rows.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(self.rows);
        self.families.done.push(family);
    }
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    let mut metric = Metric::default();
    metric.set_label(labels.iter().map(pair).collect());
    metric
}
