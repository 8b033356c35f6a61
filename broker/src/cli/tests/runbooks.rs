//! What the runbooks and the README tell people to type is what the program understands.

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::Cli;

/// What a reader puts something else for.
const PLACEHOLDERS: &[(&str, &str)] = &[
    ("TOPIC/PARTITION", "orders/0"),
    ("GROUP", "readers"),
    ("ADDRESS", "127.0.0.1:9092"),
    ("ADMIN", "127.0.0.1:9644"),
    ("TIME", "start"),
    ("URL", "s3://bucket/prefix?region=eu-central-1"),
];

fn documents() -> Vec<(String, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let runbooks = std::fs::read_dir(root.join("ops/runbooks")).expect("the runbooks");
    let files = runbooks.map(|file| file.expect("a runbook").path());
    let all = files.chain([root.join("README.md")]);
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).expect("text");
        (path.display().to_string(), text)
    };
    all.map(read).collect()
}

/// The arguments behind the program's name; up to what the shell takes for itself.
fn arguments(command: &str) -> Option<Vec<String>> {
    let from = command.find("walser ")?;
    let is_ours = command[..from].ends_with([' ', '/', '$']) || from == 0;
    let words = command[from..].split_whitespace();
    let own = words.take_while(|word| !matches!(*word, "|" | "&&" | "&" | ">" | "#"));
    let filled = own.map(|word| {
        let fill = |word: String, (name, value): &(&str, &str)| word.replace(name, value);
        PLACEHOLDERS.iter().fold(word.to_owned(), fill)
    });
    is_ours.then(|| filled.collect())
}

fn parse(command: &str) -> Option<Result<Cli, clap::Error>> {
    arguments(command).map(Cli::try_parse_from)
}

#[test]
fn every_command_in_an_example_is_understood() {
    let mut understood = 0;
    for (path, text) in documents() {
        for line in text.lines().filter(|line| line.starts_with("    ")) {
            match parse(line.trim()) {
                Some(Ok(_)) => understood += 1,
                Some(Err(why)) => panic!("{path}: {line}: {why}"),
                None => {}
            }
        }
    }
    assert!(understood > 20, "only {understood} commands were found");
}

/// In a sentence a command may lack what it cannot do without.
#[test]
fn every_command_in_a_sentence_is_one() {
    let mut understood = 0;
    for (path, text) in documents() {
        for code in text.split('`').skip(1).step_by(2) {
            let command = code.replace('\n', " ");
            if !command.starts_with("walser ") {
                continue;
            }
            let lacks_something = |why: &clap::Error| {
                let help = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
                let kinds = [
                    ErrorKind::MissingRequiredArgument,
                    help,
                    ErrorKind::DisplayHelp,
                ];
                kinds.contains(&why.kind())
            };
            match parse(&command) {
                Some(Err(why)) if !lacks_something(&why) => panic!("{path}: {command}: {why}"),
                _ => understood += 1,
            }
        }
    }
    assert!(understood > 10, "only {understood} commands were found");
}
