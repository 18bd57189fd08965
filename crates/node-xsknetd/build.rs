//! Leaves Node's symbols undefined at link time: the process that loads the binding has them.

fn main() {
    napi_build::setup();
}
