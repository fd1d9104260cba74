//! Counts lines, words and bytes of what it is sent over HTTP.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:7878")?;
    println!("listening on port 7878");
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || {
            if let Err(error) = answer(stream) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
    }
    let mut text = String::new();
    reader.take(length).read_to_string(&mut text)?;
    let body = count(&text);
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn count(text: &str) -> String {
    format!("{} lines, {} words, {} bytes\n", text.lines().count(), text.split_whitespace().count(), text.len())
}

#[test]
fn words_are_what_stands_between_spaces() {
    assert_eq!(count("two words\nand more\n"), "2 lines, 4 words, 19 bytes\n");
    assert_eq!(count(""), "0 lines, 0 words, 0 bytes\n");
}
