//! `e2e-servers LOG_DIRECTORY BINARIES=CLIENTS…`: starts a shared cluster for each pair of
//! directories, prints the variables that tests find them by, one `NAME=VALUE` a line and an
//! empty line after the last, and keeps them until its input closes.

use std::io::{Read, stdin};
use std::path::PathBuf;

use e2e::SharedServers;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let logs = PathBuf::from(arguments.next().expect("LOG_DIRECTORY"));
    let installations: Vec<(PathBuf, PathBuf)> = arguments
        .map(|pair| {
            let (binaries, clients) = pair.split_once('=').expect("BINARIES=CLIENTS");
            (binaries.into(), clients.into())
        })
        .collect();
    let servers = SharedServers::start(&installations);
    for (name, value) in servers.variables() {
        println!("{name}={value}");
    }
    println!();
    stdin().read_to_end(&mut Vec::new()).expect("standard input");
    servers.save_logs(&logs);
}
