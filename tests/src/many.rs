//! Very many questions to one server over UDP, a window of them under way at a time.
//!
//! Every question gets its answer or the test fails: what is lost is asked again, a few times.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// Questions under way at a time: their answers fit into a socket's buffer.
const WINDOW: usize = 32;

/// The answers in the order of the questions, whose IDs are written here.
pub fn ask(server: SocketAddr, questions: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(server).expect("a server's address");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    let mut answers = vec![Vec::new(); questions.len()];
    for (window, (questions, answers)) in questions.chunks(WINDOW).zip(answers.chunks_mut(WINDOW)).enumerate() {
        let first = window * WINDOW;
        let complete = (0..5).any(|_| ask_window(&socket, questions, answers, first));
        assert!(complete, "{server} is silent: {:02x?}", silent(questions, answers));
    }
    answers
}

fn silent<'q>(questions: &'q [Vec<u8>], answers: &[Vec<u8>]) -> Option<&'q Vec<u8>> {
    questions.iter().zip(answers).find(|(_, answer)| answer.is_empty()).map(|(question, _)| question)
}

/// Asks what has no answer yet; whether all have one now.
fn ask_window(socket: &UdpSocket, questions: &[Vec<u8>], answers: &mut [Vec<u8>], first: usize) -> bool {
    let mut missing = 0;
    for (at, question) in questions.iter().enumerate().filter(|(at, _)| answers[*at].is_empty()) {
        let id = ((first + at) as u16).to_be_bytes();
        socket.send(&[&id, &question[2..]].concat()).expect("a datagram sent");
        missing += 1;
    }
    let mut buffer = vec![0; 65_535];
    while missing > 0 {
        let Ok(len) = socket.recv(&mut buffer) else { return false };
        let Some(id) = buffer[..len].first_chunk().map(|id| u16::from_be_bytes(*id)) else { continue };
        let at = usize::from(id.wrapping_sub(first as u16));
        // An answer to what was asked before, and twice, is not of this window.
        if let Some(answer) = answers.get_mut(at).filter(|answer| answer.is_empty()) {
            *answer = buffer[..len].to_vec();
            missing -= 1;
        }
    }
    true
}
