//! The kernel's statistics of a loaded program, which are on while this runs (`BPF_ENABLE_STATS`): for each line of
//! standard input, a line with the nanoseconds that it has run for, and how often it has run.
//!
//! ```text
//! run_time PROGRAM_ID
//! ```

use std::error::Error;
use std::io::{self, BufRead as _, Write as _};

use aya::programs::{ProgramInfo, loaded_programs};
use aya::sys::{Stats, enable_stats};

fn main() -> Result<(), Box<dyn Error>> {
    let id: u32 = std::env::args().nth(1).ok_or("the id of a program is needed")?.parse()?;
    let _statistics = enable_stats(Stats::RunTime)?;
    for line in io::stdin().lock().lines() {
        line?;
        let program = info(id)?;
        writeln!(io::stdout().lock(), "{} {}", program.run_time().as_nanos(), program.run_count())?;
    }
    Ok(())
}

fn info(id: u32) -> Result<ProgramInfo, Box<dyn Error>> {
    // One that has just ended is not listed any more, and is not the one that is asked for.
    let found = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id);
    Ok(found.ok_or("no loaded program has this id")?)
}
