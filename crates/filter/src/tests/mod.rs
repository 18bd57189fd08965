mod flows;
mod hostile;
mod judge;
mod page;
mod refusals;
mod texts;
