//! What can be asked of the demo.

use xsknet_bpf::Mode;

pub const USAGE: &str = "\
npm start -- [--mode native|skb|unspecified] [--seconds N] [--keep]

  --mode     where the card's program runs; unspecified unless set: native, and skb where that is refused
  --seconds  how long the flood lasts; 4 unless set, 0 leaves it out
  --keep     leaves the lab running until Ctrl-C, and says how to try it by hand";

#[derive(Debug)]
pub struct Options {
    pub mode: Mode,
    pub seconds: u64,
    pub keep: bool,
}

impl Options {
    /// `None` where only help was wanted, which is printed.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self { mode: Mode::Unspecified, seconds: 4, keep: false };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--mode" => options.mode = value()?.parse().map_err(|error| format!("{error}"))?,
                "--seconds" => {
                    let text = value()?;
                    options.seconds = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
                }
                "--keep" => options.keep = true,
                "--help" | "-h" => {
                    println!("{USAGE}");
                    return Ok(None);
                }
                other => return Err(format!("`{other}` is no option of the demo")),
            }
        }
        Ok(Some(options))
    }
}
