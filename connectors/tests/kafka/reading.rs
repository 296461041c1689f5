//! Reading: what a record gives, where reading starts and ends, and what transactions hide.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use millstream_runtime::source::{ColumnOrigin, ConnectorSpec, Position, SplitId};
use rdkafka::admin::{AdminOptions, NewPartitions};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};

use super::{DEADLINE, TestTopic, broker, from_start, range, read_all, read_until, send};

fn with_metadata(mut spec: ConnectorSpec) -> ConnectorSpec {
    let header = DataType::Struct(
        vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)].into(),
    );
    spec.schema = Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("key", DataType::Utf8, true),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("headers", DataType::List(Arc::new(Field::new("item", header, true))), true),
    ]));
    spec.origins = vec![
        ColumnOrigin::Field,
        ColumnOrigin::Key,
        ColumnOrigin::Partition,
        ColumnOrigin::Offset,
        ColumnOrigin::Timestamp,
        ColumnOrigin::Headers,
    ];
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_records_in_every_compression() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 2);
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    for (number, codec) in (0_i64..).zip(codecs) {
        let producer = topic.producer(&[("compression.type", codec)]);
        let payload = format!("{{\"n\": {number}, \"filling\": \"{}\"}}", "x".repeat(2000));
        let headers = OwnedHeaders::new()
            .insert(Header { key: "codec", value: Some(codec) })
            .insert(Header { key: "empty", value: None::<&[u8]> });
        let record = BaseRecord::to(&topic.name).partition(1).key(codec).payload(&payload);
        producer
            .send(record.timestamp(1_700_000_000_000 + number).headers(headers))
            .map_err(|(error, _)| error)
            .unwrap();
        producer.flush(DEADLINE).unwrap();
    }
    let source = millstream_connectors::kafka::source(&with_metadata(topic.spec(&[]))).unwrap();
    let seen = read_all(source.as_ref(), vec![0, 1, 2, 3, 4, 5]).await;
    let rows = arrow::compute::concat_batches(&seen.batches[0].schema(), &seen.batches).unwrap();
    assert_eq!(rows.num_rows(), codecs.len());
    assert!(seen.rejected.is_empty());
    for (index, codec) in codecs.into_iter().enumerate() {
        let number = i64::try_from(index).unwrap();
        assert_eq!(rows.column(0).as_primitive::<Int64Type>().value(index), number);
        assert_eq!(rows.column(1).as_string::<i32>().value(index), codec);
        assert_eq!(rows.column(2).as_primitive::<Int32Type>().value(index), 1);
        assert_eq!(rows.column(3).as_primitive::<Int64Type>().value(index), number);
        let micros = rows.column(4).as_primitive::<TimestampMicrosecondType>().value(index);
        assert_eq!(micros, (1_700_000_000_000 + number) * 1000);
        let headers = rows.column(5).as_list::<i32>().value(index);
        let headers = headers.as_struct();
        assert_eq!(headers.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["codec", "empty"]);
        let values: Vec<_> = headers.column(1).as_binary::<i32>().iter().collect();
        assert_eq!(values, [Some(codec.as_bytes()), None]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn startup_modes() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 2);
    let producer = topic.producer(&[]);
    for number in 0..10_i64 {
        let payload = format!("{{\"n\": {number}}}");
        let record = BaseRecord::<(), _>::to(&topic.name).partition(0).payload(&payload);
        producer.send(record.timestamp(1_000_000 + number * 1000)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(DEADLINE).unwrap();
    type Case<'a> = (&'a [(&'a str, &'a str)], [u64; 2]);
    let cases: [Case<'_>; 6] = [
        (&[], [0, 0]),
        (&[("scan.startup.mode", "latest")], [10, 0]),
        (&[("scan.startup.mode", "timestamp"), ("scan.startup.timestamp.millis", "1004000")], [4, 0]),
        (&[("scan.startup.mode", "timestamp"), ("scan.startup.timestamp.millis", "1004001")], [5, 0]),
        (&[("scan.startup.mode", "timestamp"), ("scan.startup.timestamp.millis", "2000000")], [10, 0]),
        (&[("scan.startup.mode", "offsets"), ("scan.startup.specific-offsets", "partition:0,offset:7")], [7, 0]),
    ];
    for (options, expected) in cases {
        let splits = topic.source(options).splits().await.unwrap();
        let starts: Vec<u64> = splits.iter().map(|split| split.start.0).collect();
        assert_eq!(starts, expected, "{options:?}");
        assert!(splits.iter().all(|split| !split.incarnation.is_empty()), "the broker tells topic ids");
    }
    let wrong = [("scan.startup.mode", "offsets"), ("scan.startup.specific-offsets", "partition:5,offset:0")];
    let error = topic.source(&wrong).splits().await.unwrap_err();
    assert!(error.message.contains("partition 5"), "{error}");

    let seen = read_all(topic.source(cases[2].0).as_ref(), vec![0]).await;
    assert_eq!(seen.all(), (4..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_added_while_reading_are_found() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 1);
    topic.produce(0, 0..5);
    let source = topic.source(&[]);
    let splits = source.splits().await.unwrap();
    let mut reader = source.open(from_start(&splits, None), vec![0]).await.unwrap();
    read_until(reader.as_mut(), |seen| seen.all().len() == 5).await;
    let options = AdminOptions::new();
    topic.admin().create_partitions([&NewPartitions::new(&topic.name, 2)], &options).await.unwrap()[0]
        .as_ref()
        .unwrap();
    let deadline = Instant::now() + DEADLINE;
    let added = loop {
        let found = source.splits().await.unwrap();
        if let Some(added) = found.into_iter().find(|split| !splits.contains(split)) {
            break added;
        }
        assert!(Instant::now() < deadline, "the new partition is found");
    };
    assert_eq!((added.id.clone(), added.incarnation.clone()), (SplitId("1".into()), splits[0].incarnation.clone()));
    topic.produce(1, 100..103);
    let mut second = source.open(vec![range(&added, 0, None)], vec![0]).await.unwrap();
    let seen = read_until(second.as_mut(), |seen| seen.all().len() == 3).await;
    assert_eq!(seen.all(), [100, 101, 102]);
    topic.produce(0, 5..6);
    let seen = read_until(reader.as_mut(), |seen| seen.all().len() == 1).await;
    assert_eq!(seen.all(), [5], "the first reader reads on");
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_hide_what_is_aborted_or_open() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 1);
    let id = format!("test-{}", uuid::Uuid::new_v4());
    let producer = topic.producer(&[("transactional.id", id.as_str())]);
    producer.init_transactions(DEADLINE).unwrap();
    for (numbers, commit) in [(0..3, true), (10..13, false), (3..6, true), (20..23, false)] {
        producer.begin_transaction().unwrap();
        send(&producer, &topic.name, 0, numbers);
        match commit {
            true => producer.commit_transaction(DEADLINE).unwrap(),
            false => {
                producer.flush(DEADLINE).unwrap();
                producer.abort_transaction(DEADLINE).unwrap();
            }
        }
    }
    let source = topic.source(&[]);
    let split = SplitId("0".into());
    // 12 records and 4 control records, the last ones aborted: the end is behind a control record.
    let ends = source.ends().await.unwrap();
    assert_eq!(ends, BTreeMap::from([(split.clone(), Position(16))]));
    let seen = read_all(source.as_ref(), vec![0]).await;
    assert_eq!(seen.all(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(seen.next[&split], 16, "what is never delivered is passed over");

    // An open transaction is behind the end, and shows once it is committed, together with its control record.
    let splits = source.splits().await.unwrap();
    let mut reader = source.open(from_start(&splits, None), vec![0]).await.unwrap();
    read_until(reader.as_mut(), |seen| seen.next.get(&split) == Some(&16)).await;
    producer.begin_transaction().unwrap();
    send(&producer, &topic.name, 0, 6..8);
    producer.flush(DEADLINE).unwrap();
    assert_eq!(source.ends().await.unwrap()[&split], Position(16));
    producer.commit_transaction(DEADLINE).unwrap();
    let committed = Instant::now();
    let seen = read_until(reader.as_mut(), |seen| seen.next.get(&split) == Some(&19)).await;
    assert_eq!(seen.all(), [6, 7]);
    eprintln!("position behind a commit's control record after {:?}", committed.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_readers_see_what_one_reader_sees() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 3);
    (0..3).for_each(|partition| topic.produce(partition, (0..20_000).map(|n| n * 3 + i64::from(partition))));
    let source = topic.source(&[]);
    let began = Instant::now();
    let straight = read_all(source.as_ref(), vec![0]).await;
    eprintln!("60,000 records read in {:?}", began.elapsed());
    assert_eq!(straight.all(), (0..60_000).collect::<Vec<_>>());

    let splits = source.splits().await.unwrap();
    let ends = source.ends().await.unwrap();
    let mut positions: BTreeMap<SplitId, u64> = splits.iter().map(|split| (split.id.clone(), 0)).collect();
    let mut pieces: BTreeMap<SplitId, Vec<(u64, i64)>> = BTreeMap::new();
    let mut readers = 0;
    while splits.iter().any(|split| positions[&split.id] < ends[&split.id].0) {
        let ranges = splits.iter().map(|split| range(split, positions[&split.id], Some(ends[&split.id].0))).collect();
        let mut reader = source.open(ranges, vec![0]).await.unwrap();
        readers += 1;
        // Every reader is dropped after its second batch, with more on the way.
        let seen = read_until(reader.as_mut(), |seen| seen.batches.len() == 2).await;
        positions.extend(seen.next);
        seen.numbers.into_iter().for_each(|(split, numbers)| pieces.entry(split).or_default().extend(numbers));
    }
    assert!(readers > 2, "{readers} readers");
    assert_eq!(pieces, straight.numbers);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_records_are_kept_with_their_offsets() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 1);
    let producer = topic.producer(&[]);
    for payload in ["{\"n\": 1}", "{\"n\": \"x\"}", "{\"n\"", "", "{\"n\": 2}"] {
        producer.send(BaseRecord::<(), _>::to(&topic.name).payload(payload)).map_err(|(error, _)| error).unwrap();
    }
    producer.send(BaseRecord::<str, str>::to(&topic.name).key("gone")).map_err(|(error, _)| error).unwrap();
    producer.flush(DEADLINE).unwrap();
    let seen = read_all(topic.source(&[]).as_ref(), vec![0]).await;
    assert_eq!(seen.all(), [1, 2]);
    let offsets: Vec<u64> = seen.rejected.iter().map(|record| record.position.0).collect();
    assert_eq!(offsets, [1, 2, 3, 5]);
    assert_eq!(seen.rejected[0].raw, b"{\"n\": \"x\"}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_message_is_handed_over_at_once() {
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 4);
    let source = topic.source(&[]);
    let splits = source.splits().await.unwrap();
    let mut reader = source.open(from_start(&splits, None), vec![0]).await.unwrap();
    let producer = topic.producer(&[("linger.ms", "0")]);
    let mut delays: Vec<Duration> = Vec::new();
    for number in 0..100_i64 {
        let sent = Instant::now();
        send(&producer, &topic.name, i32::try_from(number % 4).unwrap(), [number]);
        let seen = read_until(reader.as_mut(), |seen| !seen.all().is_empty()).await;
        assert_eq!(seen.all(), [number]);
        delays.push(sent.elapsed());
    }
    producer.flush(DEADLINE).unwrap();
    // The first ones connect.
    delays.drain(..10);
    delays.sort_unstable();
    eprintln!("one message: p50 {:?}, p90 {:?}, worst {:?}", delays[45], delays[81], delays[89]);
    assert!(delays[45] < Duration::from_millis(50), "{:?}", delays[45]);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_shown_in_the_group() {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let Some(broker) = broker() else { return };
    let topic = TestTopic::create(&broker, 1);
    topic.produce(0, 0..5);
    let group = format!("group-{}", topic.name);
    let source = topic.source(&[("properties.group.id", &group)]);
    let splits = source.splits().await.unwrap();
    let mut reader = source.open(from_start(&splits, None), vec![0]).await.unwrap();
    let seen = read_until(reader.as_mut(), |seen| seen.all().len() == 5).await;
    let positions = seen.next.into_iter().map(|(split, next)| (split, Position(next))).collect();
    reader.committed(&positions).await.unwrap();
    let observer: BaseConsumer =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &broker).set("group.id", &group).create().unwrap();
    super::await_true("the group has the offset", || {
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition(&topic.name, 0);
        let committed = observer.committed_offsets(list, DEADLINE).unwrap();
        committed.elements()[0].offset() == rdkafka::Offset::Offset(5)
    });
}
