//! A lossless, sans-IO framer: feed it the stream in pieces of any size, get back events that, concatenated, are the
//! stream.
//!
//! ```text
//! Header --x,L,K,g--> Extension --> ExtensionPadding --> Header
//!        --S-------> GnuSparseMap --+
//!        --0 sparse> BodyMap -------+--> Body --> BodyPadding --> Header
//!        --zero----> ZeroBlock --zero--> Tail
//! ```
//!
//! What is accepted is what Go's `archive/tar` accepts, so that a layer is valid here if and only if it is valid for
//! Docker: no end blocks are needed, the padding of the last body may be cut, and whatever follows two zero blocks is
//! kept without being parsed.

use crate::block::{self, BLOCK, Block};
use crate::error::{TarError, TarErrorKind};
use crate::limits::{MAX_EXTENSION, MAX_EXTENSIONS_PER_MEMBER};
use crate::member::{self, Extensions, Member};
use crate::sparse::{BodyMap, GnuMap, SparseMap};

/// One piece of the stream, or a fact about it.
#[derive(Debug)]
pub enum Frame<'f> {
    /// Bytes that belong to no body: headers, extensions, padding, end blocks and whatever follows them.
    Raw(&'f [u8]),
    /// All headers of a member were read; its body, of `stored` bytes, follows.
    Member(Box<Member>),
    /// Body bytes of the current member as they stand in the archive.
    Body(&'f [u8]),
    /// The end-of-archive marker or the end of the input: no member follows. Comes once.
    End,
}

#[derive(Debug)]
enum State {
    Header,
    ZeroBlock,
    Extension { header: block::Fields, left: u64, padding: u64 },
    GnuSparseMap { header: block::Fields, map: GnuMap },
    BodyMap { member: Box<Member>, map: BodyMap },
    Body { left: u64, padding: u64 },
    Tail,
}

/// The framer. See the [module](self).
///
/// # Examples
///
/// The names in an archive:
///
/// ```
/// use tarsplit::frame::{Frame, Framer};
///
/// # let mut builder = tar::Builder::new(Vec::new());
/// # let mut header = tar::Header::new_ustar();
/// # header.set_size(5);
/// # builder.append_data(&mut header, "etc/hostname", &b"here\n"[..]).unwrap();
/// # let archive = builder.into_inner().unwrap();
/// let mut framer = Framer::new();
/// let mut names = Vec::new();
/// // Pieces may have any size: a read's worth, a map of the whole file.
/// for piece in archive.chunks(1000) {
///     let mut at = 0;
///     while at < piece.len() {
///         let (taken, frame) = framer.next(&piece[at..])?;
///         at += taken;
///         if let Some(Frame::Member(member)) = frame {
///             names.push(member.name);
///         }
///     }
/// }
/// framer.finish()?;
/// assert_eq!(names, [b"etc/hostname"]);
/// # Ok::<(), tarsplit::TarError>(())
/// ```
#[derive(Debug)]
pub struct Framer {
    state: State,
    /// Bytes of padding to pass before the state applies: those behind the body or extension just read.
    padding: u64,
    /// Bytes consumed.
    position: u64,
    /// Position of the header block being read.
    header_position: u64,
    partial: Block,
    partial_len: usize,
    extensions: Extensions,
    extension_data: Vec<u8>,
    pending: Option<Pending>,
}

#[derive(Debug)]
enum Pending {
    Member(Box<Member>),
    End,
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

impl Framer {
    /// A framer at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Header,
            padding: 0,
            position: 0,
            header_position: 0,
            partial: [0; BLOCK],
            partial_len: 0,
            extensions: Extensions::default(),
            extension_data: Vec::new(),
            pending: None,
        }
    }

    /// Bytes consumed so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes bytes from the front of `input`.
    ///
    /// Returns how many were taken and what they are. Call again with the rest until it returns no frame: then all of
    /// `input` was taken and more is needed.
    ///
    /// # Errors
    /// A [`TarError`] where Go's reader fails; the framer must not be used afterwards.
    pub fn next<'f>(&'f mut self, input: &'f [u8]) -> Result<(usize, Option<Frame<'f>>), TarError> {
        match self.pending.take() {
            Some(Pending::Member(member)) => return Ok((0, Some(Frame::Member(member)))),
            Some(Pending::End) => return Ok((0, Some(Frame::End))),
            None if input.is_empty() => return Ok((0, None)),
            None => {}
        }
        if self.padding > 0 {
            let take = self.advance(input, self.padding);
            self.padding -= take as u64;
            return Ok((take, Some(Frame::Raw(&input[..take]))));
        }
        match self.state {
            State::Body { left, padding } => {
                let take = self.advance(input, left);
                self.state = State::Body { left: left - take as u64, padding };
                if left == take as u64 {
                    self.state = State::Header;
                    self.padding = padding;
                }
                Ok((take, Some(Frame::Body(&input[..take]))))
            }
            State::Extension { left, .. } => {
                let take = self.advance(input, left);
                self.take_extension(&input[..take])?;
                Ok((take, Some(Frame::Raw(&input[..take]))))
            }
            State::Tail => {
                let take = self.advance(input, u64::MAX);
                Ok((take, Some(Frame::Raw(&input[..take]))))
            }
            _ => self.take_block(input),
        }
    }

    /// Passes over what is left of the current member's body, for a reader of headers that can go on behind it.
    ///
    /// Returns how many bytes that is; the next ones to be taken are those behind them. 0 where no body is being read.
    pub fn skip_body(&mut self) -> u64 {
        let State::Body { left, padding } = self.state else { return 0 };
        self.state = State::Header;
        self.padding = padding;
        self.position = self.position.saturating_add(left);
        left
    }

    /// Whether a member or the end was found that [`Self::next`] has not returned yet.
    pub(crate) fn owes_a_frame(&self) -> bool {
        self.pending.is_some()
    }

    /// Passes over padding. Returns whether the next block is a member's first header, or the first block of the end.
    pub(crate) fn is_before_header(&mut self) -> bool {
        let between = matches!(self.state, State::Header) && self.partial_len == 0;
        if between {
            self.advance_by(self.padding);
            self.padding = 0;
        }
        between && self.extensions.count == 0
    }

    /// Counts `bytes` as consumed, although the caller did not pass them to [`Self::next`].
    pub(crate) fn advance_by(&mut self, bytes: u64) {
        self.position = self.position.saturating_add(bytes);
    }

    /// Tells the framer that the input has ended.
    ///
    /// Returns whether [`Frame::End`] was still owed, that is, the archive has no end-of-archive marker.
    ///
    /// # Errors
    /// [`TarErrorKind::UnexpectedEof`] inside a header, an extension or a body.
    pub fn finish(&mut self) -> Result<bool, TarError> {
        let what = match (&self.state, self.partial_len) {
            (State::Body { .. }, _) => "a file's content",
            (State::Extension { left, .. }, _) if *left > 0 => "an extension header",
            (State::GnuSparseMap { .. } | State::BodyMap { .. }, _) => "a sparse map",
            (State::Header | State::ZeroBlock, partial) if partial > 0 => "a header",
            (state, _) => return Ok(!matches!(state, State::Tail)),
        };
        Err(self.error_at(self.position, TarErrorKind::UnexpectedEof { what }))
    }

    fn advance(&mut self, input: &[u8], at_most: u64) -> usize {
        let take = usize::try_from(at_most).map_or(input.len(), |most| most.min(input.len()));
        self.position += take as u64;
        take
    }

    fn error_at(&self, position: u64, kind: TarErrorKind) -> TarError {
        TarError { position, kind }
    }

    fn take_extension(&mut self, data: &[u8]) -> Result<(), TarError> {
        self.extension_data.extend_from_slice(data);
        if let State::Extension { left, .. } = &mut self.state {
            *left -= data.len() as u64;
            if *left == 0 {
                return self.end_extension().map_err(|kind| self.error_at(self.header_position, kind));
            }
        }
        Ok(())
    }

    fn end_extension(&mut self) -> Result<(), TarErrorKind> {
        let State::Extension { header, padding, .. } = std::mem::replace(&mut self.state, State::Header) else {
            return Ok(());
        };
        self.padding = padding;
        let data = std::mem::take(&mut self.extension_data);
        match header.typeflag {
            b'x' => self.extensions.set_pax(&data)?,
            b'L' => self.extensions.set_long_name(&data),
            b'K' => self.extensions.set_long_link(&data),
            _ => {
                self.extensions = Extensions::default();
                let member = member::global_header(header, &data, self.header_position)?;
                self.pending = Some(Pending::Member(Box::new(member)));
            }
        }
        Ok(())
    }

    /// Collects one block, then acts on it.
    fn take_block<'f>(&'f mut self, input: &'f [u8]) -> Result<(usize, Option<Frame<'f>>), TarError> {
        let take = (BLOCK - self.partial_len).min(input.len());
        if self.partial_len == 0
            && let Some(block) = input.first_chunk::<BLOCK>()
        {
            self.on_block(block)?;
            self.position += BLOCK as u64;
            return Ok((BLOCK, Some(Frame::Raw(block))));
        }
        self.partial[self.partial_len..self.partial_len + take].copy_from_slice(&input[..take]);
        self.partial_len += take;
        if self.partial_len < BLOCK {
            self.position += take as u64;
            return Ok((take, None));
        }
        self.partial_len = 0;
        let block = self.partial;
        self.position -= (BLOCK - take) as u64;
        self.on_block(&block)?;
        self.position += BLOCK as u64;
        Ok((take, Some(Frame::Raw(&self.partial))))
    }

    /// `self.position` is the block's first byte.
    fn on_block(&mut self, block: &Block) -> Result<(), TarError> {
        let position = self.position;
        self.block_in_state(block).map_err(|kind| self.error_at(position, kind))
    }

    fn block_in_state(&mut self, block: &Block) -> Result<(), TarErrorKind> {
        match std::mem::replace(&mut self.state, State::Header) {
            State::Header if block::is_zero(block) => self.state = State::ZeroBlock,
            State::Header => self.header(block)?,
            State::ZeroBlock if block::is_zero(block) => {
                self.state = State::Tail;
                self.pending = Some(Pending::End);
            }
            State::ZeroBlock => return Err(TarErrorKind::LoneZeroBlock),
            State::GnuSparseMap { header, mut map } => {
                if map.push(block)? {
                    self.state = State::GnuSparseMap { header, map };
                } else {
                    self.gnu_sparse_member(header, map)?;
                }
            }
            State::BodyMap { mut member, mut map } => {
                member.stored = member.stored.checked_sub(BLOCK as u64).ok_or(TarErrorKind::SparseMissingData)?;
                match map.push(block)? {
                    None => self.state = State::BodyMap { member, map },
                    Some(numbers) => {
                        let size = i64::try_from(member.size).map_err(|_| TarErrorKind::SparseMap)?;
                        member.sparse = Some(SparseMap::new(&numbers, size)?);
                        self.body(member)?;
                    }
                }
            }
            state => self.state = state,
        }
        Ok(())
    }

    fn header(&mut self, block: &Block) -> Result<(), TarErrorKind> {
        let fields = block::parse(block)?;
        self.header_position = self.position;
        // Go looks at the size field before the extensions that may replace it (`reader.go: handleRegularFile`).
        if fields.size < 0 && !block::is_header_only(fields.typeflag) {
            return Err(TarErrorKind::NegativeSize { found: fields.size });
        }
        match fields.typeflag {
            b'x' | b'g' | b'L' | b'K' => {
                let size = u64::try_from(fields.size).map_err(|_| TarErrorKind::NegativeSize { found: fields.size })?;
                if size > MAX_EXTENSION {
                    return Err(TarErrorKind::ExtensionTooLong { found: size, limit: MAX_EXTENSION });
                }
                self.extensions.count += 1;
                if self.extensions.count > MAX_EXTENSIONS_PER_MEMBER {
                    return Err(TarErrorKind::TooManyExtensions);
                }
                self.state = State::Extension { header: fields, left: size, padding: padding_of(size) };
                if size == 0 { self.end_extension() } else { Ok(()) }
            }
            b'S' => {
                if fields.dialect != block::Dialect::Gnu {
                    return Err(TarErrorKind::SparseMap);
                }
                let (map, extended) = GnuMap::from_header(block)?;
                if extended {
                    self.state = State::GnuSparseMap { header: fields, map };
                    return Ok(());
                }
                self.gnu_sparse_member(fields, map)
            }
            _ => {
                let resolved = std::mem::take(&mut self.extensions).resolve(fields, self.header_position)?;
                let member = Box::new(resolved.member);
                if resolved.map_in_body {
                    self.state = State::BodyMap { member, map: BodyMap::default() };
                    return Ok(());
                }
                self.body(member)
            }
        }
    }

    fn gnu_sparse_member(&mut self, fields: block::Fields, map: GnuMap) -> Result<(), TarErrorKind> {
        let mut member = Box::new(std::mem::take(&mut self.extensions).resolve(fields, self.header_position)?.member);
        let (numbers, size) = map.finish();
        member.sparse = Some(SparseMap::new(&numbers, size)?);
        member.size = u64::try_from(size).map_err(|_| TarErrorKind::SparseMap)?;
        self.body(member)
    }

    /// All headers of `member` were read: its body comes next.
    fn body(&mut self, member: Box<Member>) -> Result<(), TarErrorKind> {
        if let Some(map) = &member.sparse {
            match map.stored().cmp(&member.stored) {
                std::cmp::Ordering::Greater => return Err(TarErrorKind::SparseMissingData),
                std::cmp::Ordering::Less => return Err(TarErrorKind::SparseUnreferencedData),
                std::cmp::Ordering::Equal => {}
            }
        }
        if member.stored > 0 {
            self.state = State::Body { left: member.stored, padding: padding_of(member.stored) };
        }
        self.pending = Some(Pending::Member(member));
        Ok(())
    }
}

fn padding_of(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
