mod runbooks;

use clap::{CommandFactory, Parser};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::exit::{Exit, Failure};
use super::output::{Format, Table, column, confirm, wide};
use super::{Cli, execute};

fn exit_of(arguments: &[&str]) -> Exit {
    let cli = Cli::try_parse_from([&["walser"], arguments].concat()).expect("arguments that parse");
    execute(cli.command).expect_err("a command that fails").exit
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn wrong_arguments_are_a_usage_error() {
    for wrong in [
        &["nothing"][..],
        &["topic", "create"],
        &["dev", "--nodes", "0"],
        &["partition", "describe", "x"],
        &["bucket", "gc", "/x", "--grace", "soon"],
        &["bucket", "gc", "/x", "--keep", "0"],
        &["snapshot", "verify", "x/y"],
    ] {
        let error =
            Cli::try_parse_from([&["walser"], wrong].concat()).expect_err("no such command");
        assert_eq!(error.exit_code(), Exit::Usage as i32, "{wrong:?}");
    }
    assert_eq!(exit_of(&["consume", "t", "-o", "middle"]), Exit::Usage);
    assert_eq!(exit_of(&["produce", "t", "-z", "zip"]), Exit::Usage);
    assert_eq!(exit_of(&["produce", "t", "--acks", "some"]), Exit::Usage);
    assert_eq!(exit_of(&["topic", "alter", "t"]), Exit::Usage);
    assert_eq!(
        exit_of(&["topic", "create", "t", "-c", "novalue"]),
        Exit::Usage
    );
    assert_eq!(exit_of(&["config", "explain", "no.such.key"]), Exit::Usage);
    assert_eq!(exit_of(&["bench", "--cell", "no-such-cell"]), Exit::Usage);
    let groups = ["clone", "--from", "/x", "--topic", "__consumer_offsets"];
    assert_eq!(exit_of(&groups), Exit::Usage);
    assert_eq!(
        exit_of(&["serve", "--config", "/no/such/file.toml"]),
        Exit::Usage
    );
}

/// Looking for a data directory makes none, and what is none is not called damaged.
#[test]
fn a_disk_without_a_data_directory_is_not_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let nothing = folder.path().join("nothing");
    for path in [folder.path(), &nothing] {
        let path = path.to_str().expect("text");
        assert_eq!(exit_of(&["disk", "verify", path]), Exit::NotFound);
    }
    assert!(!nothing.exists());
}

/// Looking into a store makes none, and neither does collecting in one.
#[test]
fn a_folder_that_is_not_there_is_no_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let nothing = folder.path().join("nothing");
    let path = nothing.to_str().expect("text");
    for command in [
        &["bucket", "gc", path][..],
        &["bucket", "verify", path],
        &["clone", "--from", path, "--topic", "t", "--dry-run"],
    ] {
        assert_eq!(exit_of(command), Exit::NotFound, "{command:?}");
    }
    assert!(!nothing.exists());
    // Nobody has written to it.
    let empty = folder.path().to_str().expect("text");
    assert_eq!(exit_of(&["bucket", "gc", empty]), Exit::NotFound);
}

#[test]
fn nobody_there_is_unreachable() {
    // Bound and not listening for Kafka: the connection is accepted and never answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = silent.local_addr().expect("an address").to_string();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let gone = gone.local_addr().expect("an address").to_string();
    for address in [gone, silent] {
        let arguments = ["topic", "list", "--timeout", "1", "-b", &address];
        assert_eq!(exit_of(&arguments), Exit::Unreachable);
    }
}

#[test]
fn codes_of_brokers_become_exit_codes() {
    for (code, exit) in [
        (3, Exit::NotFound),
        (100, Exit::NotFound),
        (7, Exit::Unreachable),
        (6, Exit::Unreachable),
        (2, Exit::Corruption),
        (36, Exit::Failure),
        (-1, Exit::Failure),
        (9999, Exit::Failure),
    ] {
        let failure = Failure::of_code(code, None, "topic t");
        assert_eq!(failure.exit, exit, "{code}");
        assert!(failure.message.starts_with("topic t: "), "{failure}");
    }
    let told = Failure::of_code(36, Some("it is there"), "topic t");
    assert_eq!(
        told.to_string(),
        "topic t: it is there (TopicAlreadyExists, 36)"
    );
}

#[test]
fn destruction_needs_a_yes() {
    assert_eq!(confirm(true, "deleting"), Ok(()));
    if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        assert_eq!(
            confirm(false, "deleting").expect_err("not said").exit,
            Exit::NeedsYes
        );
    }
}

#[test]
fn tables_are_aligned_and_json_is_stable() {
    let mut table = Table::new(&[column("topic"), column("in_sync"), wide("rack")]);
    table.row(vec![json!("orders"), json!([1, 2]), Value::Null]);
    table.row(vec![json!("x"), json!([]), json!("a")]);
    assert_eq!(
        table.render(Format::Text, "rows"),
        "TOPIC   IN-SYNC\norders  1,2\nx       -\n"
    );
    assert_eq!(
        table.render(Format::Wide, "rows"),
        "TOPIC   IN-SYNC  RACK\norders  1,2      -\nx       -        a\n"
    );
    let shown: Value = serde_json::from_str(&table.render(Format::Json, "rows")).expect("JSON");
    assert_eq!(shown["schema"], 1);
    assert_eq!(
        shown["rows"][0],
        json!({ "topic": "orders", "in_sync": [1, 2], "rack": null })
    );
}

#[test]
fn yaml_says_what_json_says() {
    let mut table = Table::new(&[column("topic"), column("in_sync"), wide("rack")]);
    table.row(vec![json!("a: b"), json!([1, 2]), Value::Null]);
    table.row(vec![json!("x"), json!([]), json!({ "zone": [["y"], {}] })]);
    let text = table.render(Format::Yaml, "rows");
    let expected = concat!(
        "---\n",
        "rows:\n",
        "  - in_sync:\n",
        "      - 1\n",
        "      - 2\n",
        "    rack: null\n",
        "    topic: \"a: b\"\n",
        "  - in_sync: []\n",
        "    rack:\n",
        "      zone:\n",
        "        - - \"y\"\n",
        "        - {}\n",
        "    topic: \"x\"\n",
        "schema: 1\n",
    );
    assert_eq!(text, expected);
}

#[tokio::test]
async fn watching_goes_on_after_an_error() {
    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        watch: super::output::Watch,
    }
    let line = |arguments: &[&str]| Line::try_parse_from(arguments);
    let once = line(&["x"]).expect("no flag").watch;
    let failed = once.run(async || Err(Failure::new("gone"))).await;
    assert_eq!(
        failed,
        Err(Failure::new("gone")),
        "unwatched, an error is the end"
    );
    let every = line(&["x", "--watch", "1"]).expect("a flag").watch;
    let again = tokio::sync::Semaphore::new(0);
    let forever = every.run(async || {
        again.add_permits(1);
        Err(Failure::new("gone"))
    });
    tokio::select! {
        ended = forever => panic!("it ended: {ended:?}"),
        twice = again.acquire_many(2) => drop(twice.expect("open")),
    }
    assert!(line(&["x", "--watch", "0"]).is_err());
}

#[tokio::test]
async fn an_answer_to_another_request_is_refused() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let broker = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let length = stream.read_u32().await.expect("a request");
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request).await.expect("a request");
        // Correlation 77, nobody's.
        stream
            .write_all(&[0, 0, 0, 5, 0, 0, 0, 77, 0])
            .await
            .expect("sent");
    });
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    let mut connection = super::client::Connection::open(&address, deadline)
        .await
        .expect("a connection");
    let request = protocol::messages::metadata::MetadataRequest::default();
    let failure = connection
        .call(13, &request, deadline)
        .await
        .expect_err("not its answer");
    assert!(
        failure.message.contains("the answer of request 77"),
        "{failure}"
    );
    broker.await.expect("served");
}
