//! What a monitor and those who are attached to its container say to each other: a byte for the kind, four for the length
//! (little endian), and the content.

use std::io::{self, Read, Write};

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// To the monitor: start the container.
    Start,
    /// To the monitor: input for the container.
    Input(Vec<u8>),
    /// To the monitor: there is no more input.
    InputEnds,
    /// To the monitor: the size of the terminal, rows and columns.
    Size(u16, u16),
    /// To the monitor: a signal for the first process.
    Signal(i32),
    /// To the monitor: let the container's processes stop, until the one who says this has gone.
    Pause,
    /// From the monitor: they have stopped; or why they have not.
    Paused(String),
    /// From the monitor: the container runs.
    Started,
    /// From the monitor: it could not be started; docker's exit status and why.
    Failed(u8, String),
    /// From the monitor: output.
    Output(Vec<u8>),
    /// From the monitor: error output.
    ErrorOutput(Vec<u8>),
    /// From the monitor: the container has ended, and the store says so.
    Exited(i32),
}

/// The longest message.
const MAX: usize = 1 << 20;

impl Message {
    pub(crate) fn send(&self, to: &mut impl Write) -> io::Result<()> {
        let (kind, content): (u8, Vec<u8>) = match self {
            Self::Start => (0, Vec::new()),
            Self::Input(bytes) => (1, bytes.clone()),
            Self::InputEnds => (2, Vec::new()),
            Self::Size(rows, columns) => (3, [rows.to_le_bytes(), columns.to_le_bytes()].concat()),
            Self::Signal(number) => (4, number.to_le_bytes().to_vec()),
            Self::Started => (5, Vec::new()),
            Self::Failed(status, why) => (6, [&[*status], why.as_bytes()].concat()),
            Self::Output(bytes) => (7, bytes.clone()),
            Self::ErrorOutput(bytes) => (8, bytes.clone()),
            Self::Exited(code) => (9, code.to_le_bytes().to_vec()),
            Self::Pause => (10, Vec::new()),
            Self::Paused(why) => (11, why.as_bytes().to_vec()),
        };
        let length = u32::try_from(content.len()).map_err(io::Error::other)?;
        let mut bytes = vec![kind];
        bytes.extend(length.to_le_bytes());
        bytes.extend(content);
        to.write_all(&bytes)
    }

    /// The next message; `None` at the end.
    pub(crate) fn receive(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = [0; 5];
        match from.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            read => read?,
        }
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a message of a monitor");
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > MAX {
            return Err(invalid());
        }
        let mut content = vec![0; length];
        from.read_exact(&mut content)?;
        let number = || content.as_slice().try_into().map(i32::from_le_bytes).map_err(|_| invalid());
        Ok(Some(match head[0] {
            0 => Self::Start,
            1 => Self::Input(content),
            2 => Self::InputEnds,
            3 if length == 4 => {
                Self::Size(u16::from_le_bytes([content[0], content[1]]), u16::from_le_bytes([content[2], content[3]]))
            }
            4 => Self::Signal(number()?),
            5 => Self::Started,
            6 if length > 0 => Self::Failed(content[0], String::from_utf8_lossy(&content[1..]).into_owned()),
            7 => Self::Output(content),
            8 => Self::ErrorOutput(content),
            9 => Self::Exited(number()?),
            10 => Self::Pause,
            11 => Self::Paused(String::from_utf8_lossy(&content).into_owned()),
            _ => return Err(invalid()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_received() {
        let all = [
            Message::Start,
            Message::Input(b"a\0b".to_vec()),
            Message::InputEnds,
            Message::Size(24, 80),
            Message::Signal(15),
            Message::Started,
            Message::Failed(127, "why".into()),
            Message::Output(vec![0; 70_000]),
            Message::ErrorOutput(Vec::new()),
            Message::Exited(-1),
            Message::Pause,
            Message::Paused("why".into()),
        ];
        let mut bytes = Vec::new();
        all.iter().for_each(|message| message.send(&mut bytes).unwrap());
        let mut from = bytes.as_slice();
        for message in &all {
            assert_eq!(Message::receive(&mut from).unwrap().as_ref(), Some(message));
        }
        assert_eq!(Message::receive(&mut from).unwrap(), None);
        assert!(Message::receive(&mut [7, 255, 255, 255, 255].as_slice()).is_err());
    }
}
