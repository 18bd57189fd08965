//! How far the programs are from what the verifier takes.

use crate::object;

/// Of the million that the verifier walks at most (BPF_COMPLEXITY_LIMIT_INSNS), so that another kernel's may differ.
/// It also is the time that a start and an opening take: some 150 ns for each.
const MOST: u32 = 250_000;

#[test]
fn the_verifier_walks_few_instructions_of_each_program() {
    let (mut datapath, inner_ends) = object::load_datapath(&[], None).unwrap();
    for later in object::LATER {
        object::load_program(&mut datapath, later).unwrap();
    }
    let walked = [&datapath, &inner_ends].map(|object| {
        object.programs().map(|(name, program)| {
            (name.to_owned(), program.info().unwrap().verified_instruction_count().expect("since Linux 5.16"))
        })
    });
    let walked: Vec<_> = walked.into_iter().flatten().collect();
    assert!(walked.len() == 6 && walked.iter().all(|(_, walked)| *walked < MOST), "{walked:?}");
}
