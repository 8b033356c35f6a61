//! Whether a broker answered as it has to.

use super::Played;
use super::text::{Ask, Step};
use crate::cluster::Flavor;

/// Everything that is not as it has to be, for a human. Kafka has to answer as it did when it was recorded; ours too,
/// but where a difference is meant it has to be that difference.
pub fn findings(flavor: Flavor, played: &[Played<'_>]) -> Vec<String> {
    played.iter().flat_map(|one| of_one(flavor, one)).collect()
}

fn of_one(flavor: Flavor, played: &Played<'_>) -> Vec<String> {
    let (path, name) = (played.file.path.display(), &played.sequence.name);
    let answers = match &played.answers {
        Ok(answers) => answers,
        Err(why) => return vec![format!("{path}: {name}: {why}")],
    };
    let asks = played.sequence.steps.iter().filter_map(|step| match step {
        Step::Ask(ask) => Some(ask),
        Step::Wait(_) | Step::Until(..) | Step::Settle(..) => None,
    });
    let wrong = asks.filter_map(|ask| {
        let answer = answers.iter().find(|(line, _)| *line == ask.line);
        let what = wrong(flavor, ask, answer.map(|(_, answer)| answer.as_str()))?;
        let (line, api, version) = (ask.line + 1, &ask.api, ask.version);
        Some(format!("{path}:{line}: {name}: {api} {version}: {what}"))
    });
    wrong.collect()
}

/// What is wrong with an answer.
pub fn wrong(flavor: Flavor, ask: &Ask, answer: Option<&str>) -> Option<String> {
    let Some(answer) = answer else {
        return Some("no answer".to_owned());
    };
    let Some(recorded) = ask.recorded.as_deref() else {
        return Some(format!("nothing is recorded\n  got      {answer}"));
    };
    let expected = match (flavor, &ask.differs) {
        (Flavor::Walser, Some((_, why))) if why.is_empty() => {
            return Some("a difference without its reason".to_owned());
        }
        (Flavor::Walser, Some(_)) if answer == recorded => {
            return Some(format!(
                "this is said to differ, and does not\n  got      {answer}"
            ));
        }
        (Flavor::Walser, Some((ours, _))) => ours,
        _ => recorded,
    };
    (answer != expected).then(|| format!("\n  expected {expected}\n  got      {answer}"))
}
