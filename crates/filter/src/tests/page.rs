//! The examples of docs/flows.md.

use crate::Expression;

const PAGE: &str = include_str!("../../../../docs/flows.md");

/// Each expression of the page's examples with the lines below it: a flow behind `=`, a refusal behind `!`.
fn examples() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut examples: Vec<(&str, Vec<&str>)> = Vec::new();
    for block in PAGE.split("```text\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for line in block.lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix("  ") {
                Some(outcome) => examples.last_mut().unwrap().1.push(outcome),
                None => examples.push((line, Vec::new())),
            }
        }
    }
    examples
}

#[test]
fn each_example_of_the_page_does_what_it_says() {
    let examples = examples();
    assert_eq!(examples.len(), 27);
    for (text, outcomes) in examples {
        let found: Vec<String> = match text.parse::<Expression>().map(|expression| expression.flows()) {
            Ok(Ok(flows)) => flows.iter().map(|flow| format!("= {flow}")).collect(),
            Ok(Err(refused)) => vec![format!("! {refused}")],
            Err(refused) => vec![format!("! {refused}")],
        };
        assert_eq!(found, outcomes, "`{text}`");
    }
}
