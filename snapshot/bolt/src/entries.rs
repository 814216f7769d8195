//! Walking through the pages of a bucket.

use super::page::{BRANCH, BUCKET_HEADER, ELEMENT, IS_BUCKET, LEAF, PAGE_HEADER, Page, Tree, size_at, u32_at, u64_at};
use super::source::PageBytes;
use super::{Bolt, BoltError, Bucket, BucketEntry, PageProblem};

/// How deep a tree of pages may be. bbolt's trees branch at least in two at each level, so no file comes near this
/// depth.
pub(super) const MAX_DEPTH: usize = 40;

/// The entries of a bucket.
#[derive(Debug)]
pub struct Entries<'a> {
    bolt: &'a Bolt<'a>,
    /// Where the bucket begins, as long as nothing of it was read.
    first: Option<Tree>,
    /// The pages from the root to the one being read.
    open: Vec<Open>,
    last: Option<PageBytes>,
}

/// A page that is being read.
#[derive(Debug)]
struct Open {
    page: Page,
    branch: bool,
    count: usize,
    next: usize,
    /// Where the data of the last element ended.
    free: usize,
}

impl Open {
    fn new(page: Page, may_branch: bool) -> Result<Self, BoltError> {
        let (flags, count) = page.header()?;
        let branch = match flags {
            BRANCH if may_branch && count > 0 => true,
            LEAF => false,
            _ => return Err(page.failed(PageProblem::Kind { found: flags })),
        };
        Ok(Self { page, branch, count, next: 0, free: PAGE_HEADER + count * ELEMENT })
    }

    /// The page below that comes next.
    fn child(&mut self) -> Result<(u64, usize), BoltError> {
        let index = self.advance();
        let (page, at) = (&self.page, PAGE_HEADER + index * ELEMENT);
        let read = || Some((size_at(&page.bytes, at)?, size_at(&page.bytes, at + 4)?, u64_at(&page.bytes, at + 8)?));
        let (position, key, id) = read().ok_or_else(|| page.failed(PageProblem::Element { index }))?;
        page.data(index, position, key, &mut self.free)?;
        Ok((id, page.start + at + 8))
    }

    /// The entry that comes next.
    fn entry<'a>(&mut self, bolt: &'a Bolt<'a>) -> Result<BucketEntry<'a>, BoltError> {
        let index = self.advance();
        let (page, at) = (&self.page, PAGE_HEADER + index * ELEMENT);
        let failed = || page.failed(PageProblem::Element { index });
        let read = || Some((u32_at(&page.bytes, at)?, size_at(&page.bytes, at + 4)?, size_at(&page.bytes, at + 8)?));
        let (flags, position, key_length) = read().ok_or_else(failed)?;
        let value_length = size_at(&page.bytes, at + 12).ok_or_else(failed)?;
        let (_, key) = page.data(index, position, key_length, &mut self.free)?;
        let after = position.checked_add(key_length).ok_or_else(failed)?;
        let (start, value) = page.data(index, after, value_length, &mut self.free)?;
        if flags & IS_BUCKET == 0 {
            return Ok(BucketEntry::Value(key, value));
        }
        let referred = page.start + start;
        let sequence = u64_at(&value, 8).ok_or_else(failed)?;
        let tree = match (u64_at(&value, 0), value.part(BUCKET_HEADER..value.len())) {
            (Some(0), Some(bytes)) => Tree::Inline(Page { id: page.id, start: referred + BUCKET_HEADER, bytes }),
            (Some(id), Some(_)) => Tree::Page { id, referred },
            _ => return Err(failed()),
        };
        Ok(BucketEntry::Bucket(key, Bucket { bolt, tree, sequence }))
    }

    fn advance(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }
}

impl<'a> Entries<'a> {
    pub(super) fn new(bolt: &'a Bolt<'a>, tree: Tree) -> Self {
        Self { bolt, first: Some(tree), open: Vec::new(), last: None }
    }

    fn descend(&mut self, id: u64, referred: usize) -> Result<(), BoltError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(BoltError { page: id, problem: PageProblem::Deep });
        }
        self.open.push(Open::new(self.bolt.page(id, referred)?, true)?);
        Ok(())
    }

    fn step(&mut self) -> Result<Option<BucketEntry<'a>>, BoltError> {
        match self.first.take() {
            Some(Tree::Page { id, referred }) => self.descend(id, referred)?,
            Some(Tree::Inline(page)) => self.open.push(Open::new(page, false)?),
            None => {}
        }
        while let Some(open) = self.open.last_mut() {
            if open.next == open.count {
                self.open.pop();
            } else if open.branch {
                let (id, referred) = open.child()?;
                self.descend(id, referred)?;
            } else {
                let entry = open.entry(self.bolt)?;
                let (BucketEntry::Value(key, _) | BucketEntry::Bucket(key, _)) = &entry;
                if self.last.as_ref().is_some_and(|last| **last >= **key) {
                    return Err(open.page.failed(PageProblem::Order { index: open.next - 1 }));
                }
                self.last = Some(key.clone());
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<BucketEntry<'a>, BoltError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.open.clear();
        }
        step.transpose()
    }
}
