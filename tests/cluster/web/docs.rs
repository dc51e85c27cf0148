//! The examples of docs/api.md and docs/embed.md, run without changes.
//!
//! Every block of `sh`, `js` or `python` is run with the address of a real instance in place of the one in the
//! text. The block after it, of `text` or `json`, is the expected output. In it `…` matches anything.

use headcount_testkit::{
    client::{Client, Transport},
    cluster::clients_say,
    http,
    instance::Instance,
    waiting::{PATIENCE, eventually},
};
use regex::{Regex, RegexBuilder};
use tokio::{process::Command, time::timeout};

/// The address of the server in the texts.
const EXAMPLE: &str = "https://count.example";

/// Goal: the examples of the API's page are true. Method: run them with two connected clients, and compare the
/// output.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_api_are_true() {
    assert!(run_examples(include_str!("../../../docs/api.md")).await >= 6);
}

/// Goal: the examples of how a backend reads the count are true. Method: run them, and compare the output.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_embedding_are_true() {
    assert!(run_examples(include_str!("../../../docs/embed.md")).await >= 3);
}

/// Runs all examples with an expected output, and returns how many there were.
async fn run_examples(text: &str) -> usize {
    let settings = [("HEADCOUNT_ALLOWED_ORIGINS", "https://blog.example")];
    let instance = Instance::start(&settings).await;
    let clients = [(); 2].map(|()| Client::open(instance.public, Transport::Websocket));
    let records = clients.each_ref().map(|client| client.record().clone());
    eventually("both are counted", async || clients_say(2, &records)).await;
    eventually("they are the peak", async || {
        let answer = http::get(instance.public, "/api/count").await?.body;
        if answer.contains("\"peak_ever\":{\"count\":2") { Ok(()) } else { Err(answer) }
    })
    .await;
    let blocks = blocks(text);
    let mut examples = 0;
    let last = blocks.last().expect("there are blocks");
    assert!(interpreter(last.0).is_none(), "what comes out of {}?", last.1);
    for pair in blocks.windows(2) {
        let [(language, example), (kind, expected)] = pair else { continue };
        let Some(mut command) = interpreter(language) else { continue };
        assert!(matches!(*kind, "text" | "json"), "what comes out of {example}?");
        command.arg(example.replace(EXAMPLE, &format!("http://{}", instance.public)));
        let output = timeout(PATIENCE, command.kill_on_drop(true).output()).await;
        let output = output.expect("it ends").expect("it runs");
        let stdout = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let is_so = pattern(expected).is_match(stdout.trim());
        assert!(is_so, "{example}\ngave\n{stdout}{stderr}\nnot\n{expected}");
        examples += 1;
    }
    examples
}

/// Fenced blocks: language and content.
pub(super) fn blocks(text: &str) -> Vec<(&str, &str)> {
    let fenced = Regex::new(r"(?ms)^```(\w+)\n(.*?)^```$").expect("it is valid");
    let found = fenced.captures_iter(text);
    found.map(|block| block.extract()).map(|(_, [language, content])| (language, content)).collect()
}

fn interpreter(language: &str) -> Option<Command> {
    let (program, arguments) = match language {
        "sh" => ("sh", ["-c"].as_slice()),
        "js" => ("node", ["--input-type=module", "--eval"].as_slice()),
        "python" => ("python3", ["-c"].as_slice()),
        _ => return None,
    };
    let mut command = Command::new(program);
    command.args(arguments);
    Some(command)
}

fn pattern(expected: &str) -> Regex {
    let parts: Vec<String> = expected.trim().split('…').map(regex::escape).collect();
    let pattern = format!("^{}$", parts.join(".*"));
    RegexBuilder::new(&pattern).dot_matches_new_line(true).build().expect("it is valid")
}
