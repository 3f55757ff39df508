//! The messages between keeper, pagers and clients, as bytes; descriptors travel beside them.
//!
//! A message is one packet: version, kind, then the fields in order, numbers as eight bytes (little
//! endian), names as two bytes of length and UTF-8.

use std::fmt;

/// The version of the protocol.
const VERSION: u8 = 1;
/// The longest packet: a head, a name, some numbers.
pub(super) const LONGEST: usize = 512;
/// The longest name of an object in bytes.
const LONGEST_NAME: usize = 255;

/// The shape of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes.
    pub length: u64,
    /// Bytes per page.
    pub page_size: u64,
}

/// Where a client has mapped the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) address: u64,
    pub(super) length: u64,
    pub(super) offset: u64,
}

/// Why the keeper says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another process is the object's pager.
    Busy,
    /// The object has another length or page size.
    OtherShape,
    /// The message does not belong here.
    OutOfTurn,
    /// A descriptor is missing or of the wrong kind.
    BadDescriptor,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "another process is the pager of this object; end it first, or wait as a standby",
            Self::OtherShape => "the object has another length or page size; serve the same file as before",
            Self::OutOfTurn => "the message does not belong here",
            Self::BadDescriptor => "a descriptor is missing or of the wrong kind",
        })
    }
}

/// A message, without its descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Client: I want to map this object.
    Attach { object: String },
    /// Client: mapped and registered; with the userfaultfd.
    Mapped(Placement),
    /// Client: unmapped.
    Detach,
    /// Pager: I serve this object, now or (standby) when its pager is gone.
    Serve {
        object: String,
        shape: Shape,
        standby: bool,
    },
    /// Pager: the object is made; with memory and journal.
    Created,
    /// Keeper to client: the object; with its memory.
    Memory(Shape),
    /// Keeper to client: your faults will be served.
    Registered,
    /// Keeper to pager: there is no such object yet; make it.
    Begin,
    /// Keeper to pager: it is yours, with memory and journal; so many clients follow.
    TakeOver { clients: u64, generation: u64 },
    /// Keeper to pager: memory and journal are held.
    Kept,
    /// Keeper to pager: a client came; with its userfaultfd.
    Came { id: u64, placement: Placement },
    /// Keeper to pager: a client is gone.
    Gone { id: u64 },
    /// Keeper: no.
    Refused(Refusal),
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    let name = &name.as_bytes()[..name.len().min(LONGEST_NAME)];
    out.extend_from_slice(&(name.len() as u16).to_le_bytes());
    out.extend_from_slice(name);
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    numbers
        .iter()
        .for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
}

impl Refusal {
    const ALL: [Self; 4] = [Self::Busy, Self::OtherShape, Self::OutOfTurn, Self::BadDescriptor];

    fn code(self) -> u64 {
        match self {
            Self::Busy => 0,
            Self::OtherShape => 1,
            Self::OutOfTurn => 2,
            Self::BadDescriptor => 3,
        }
    }
}

impl Message {
    fn kind(&self) -> u8 {
        match self {
            Self::Attach { .. } => 1,
            Self::Mapped(_) => 2,
            Self::Detach => 3,
            Self::Serve { .. } => 4,
            Self::Created => 5,
            Self::Memory(_) => 6,
            Self::Registered => 7,
            Self::Begin => 8,
            Self::TakeOver { .. } => 9,
            Self::Kept => 10,
            Self::Came { .. } => 11,
            Self::Gone { .. } => 12,
            Self::Refused(_) => 13,
        }
    }

    /// The bytes of the message.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.kind()];
        match self {
            Self::Detach | Self::Created | Self::Registered | Self::Begin | Self::Kept => {}
            Self::Attach { object } => put_name(&mut out, object),
            Self::Serve {
                object,
                shape,
                standby,
            } => {
                put_name(&mut out, object);
                put_numbers(&mut out, &[shape.length, shape.page_size, u64::from(*standby)]);
            }
            Self::Memory(shape) => put_numbers(&mut out, &[shape.length, shape.page_size]),
            Self::Mapped(place) => put_numbers(&mut out, &[place.address, place.length, place.offset]),
            Self::TakeOver { clients, generation } => put_numbers(&mut out, &[*clients, *generation]),
            Self::Came { id, placement } => {
                let Placement {
                    address,
                    length,
                    offset,
                } = placement;
                put_numbers(&mut out, &[*id, *address, *length, *offset]);
            }
            Self::Gone { id } => put_numbers(&mut out, &[*id]),
            Self::Refused(refusal) => put_numbers(&mut out, &[refusal.code()]),
        }
        out
    }

    /// The message in a packet; nothing if it is none.
    pub(super) fn decode(packet: &[u8]) -> Option<Self> {
        let (&[version, kind], rest) = packet.split_first_chunk::<2>()?;
        let mut fields = Fields(rest);
        let message = (version == VERSION).then(|| Self::fields(kind, &mut fields))??;
        fields.0.is_empty().then_some(message)
    }

    fn fields(kind: u8, fields: &mut Fields<'_>) -> Option<Self> {
        Some(match kind {
            1 => Self::Attach {
                object: fields.name()?,
            },
            2 => Self::Mapped(fields.placement()?),
            3 => Self::Detach,
            4 => Self::Serve {
                object: fields.name()?,
                shape: fields.shape()?,
                standby: fields.number()? != 0,
            },
            5 => Self::Created,
            6 => Self::Memory(fields.shape()?),
            7 => Self::Registered,
            8 => Self::Begin,
            9 => Self::TakeOver {
                clients: fields.number()?,
                generation: fields.number()?,
            },
            10 => Self::Kept,
            11 => Self::Came {
                id: fields.number()?,
                placement: fields.placement()?,
            },
            12 => Self::Gone { id: fields.number()? },
            13 => {
                let code = fields.number()?;
                Self::Refused(Refusal::ALL.into_iter().find(|refusal| refusal.code() == code)?)
            }
            _ => return None,
        })
    }
}

/// What is left of a packet.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn name(&mut self) -> Option<String> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        self.0 = rest;
        String::from_utf8(name.to_vec()).ok()
    }

    fn shape(&mut self) -> Option<Shape> {
        Some(Shape {
            length: self.number()?,
            page_size: self.number()?,
        })
    }

    fn placement(&mut self) -> Option<Placement> {
        Some(Placement {
            address: self.number()?,
            length: self.number()?,
            offset: self.number()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> Vec<Message> {
        let object = "a name".to_owned();
        let shape = Shape {
            length: 1 << 40,
            page_size: 4096,
        };
        let placement = Placement {
            address: 1,
            length: 2,
            offset: 3,
        };
        let mut all = vec![
            Message::Attach {
                object: object.clone(),
            },
            Message::Mapped(placement),
            Message::Detach,
            Message::Serve {
                object,
                shape,
                standby: true,
            },
            Message::Created,
            Message::Memory(shape),
            Message::Registered,
            Message::Begin,
            Message::TakeOver {
                clients: 4,
                generation: 5,
            },
            Message::Kept,
            Message::Came { id: 6, placement },
            Message::Gone { id: 7 },
        ];
        all.extend(Refusal::ALL.map(Message::Refused));
        all
    }

    #[test]
    fn what_is_sent_is_what_is_understood() {
        for message in every_kind() {
            let packet = message.encode();
            assert!(packet.len() <= LONGEST);
            assert_eq!(Message::decode(&packet), Some(message));
        }
    }

    #[test]
    fn what_is_cut_short_or_too_long_or_of_another_version_is_no_message() {
        for message in every_kind() {
            let mut packet = message.encode();
            for length in 0..packet.len() {
                assert_eq!(
                    Message::decode(&packet[..length]),
                    None,
                    "{message:?} cut to {length}"
                );
            }
            packet.push(0);
            assert_eq!(Message::decode(&packet), None);
            packet.pop();
            packet[0] += 1;
            assert_eq!(Message::decode(&packet), None);
        }
    }
}
