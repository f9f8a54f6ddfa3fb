//! A page of which every value went as nearly all do: sent once, acknowledged where it was then read, or read where it was then acknowledged.
//!
//! Why apart: such a value needs a fifth of what any other may, nobody has to find it by its name, and what a poll says of a run of offsets
//! is a comparison of two arrays and a few masks. Nothing is lost: a page that something else happens to is spelled out ([`LightPage::told`]).

use kchaos_core::{Offset, Value};

use crate::log::{Bound, Id, Isolation, OpRef, PollOp};

use super::packed::Packed;
use super::{At, Bits, Pages, UNUSED, WIDTH, WORDS, is_set, offset_of, place};

pub(crate) struct LightPage {
    pub(super) number: i64,
    /// [`NOTHING`] where nobody stands.
    pub(super) values: [Value; WIDTH],
    invoked: [OpRef; WIDTH],
    completed: [OpRef; WIDTH],
    /// What ok polls returned, unless all of it was read before: so there are no more than slots.
    runs: Vec<Run>,
    acknowledged: Bits,
    /// How many that are.
    count: usize,
    /// By ok polls at each isolation.
    read_committed: Bits,
    read_uncommitted: Bits,
    /// Read before it was acknowledged.
    read_first: Bits,
}

/// No light value: it is not greater than any other.
const NOTHING: Value = Value::MIN;

/// The slots that one poll returned, one after the other.
#[derive(Clone, Copy)]
struct Run {
    begin: u16,
    end: u16,
    op: OpRef,
    reader: u32,
}

/// A value of such a page, with all that is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) offset: Offset,
    pub(crate) value: Value,
    pub(crate) invoked: OpRef,
    /// If it was acknowledged.
    pub(crate) completed: Option<OpRef>,
    /// The op that first showed it there.
    pub(crate) placed: OpRef,
    /// The first ok op that returned it, and whose that was.
    pub(crate) read: Option<(OpRef, u32)>,
    pub(crate) read_committed: bool,
}

impl LightPage {
    pub(super) fn new() -> Self {
        Self {
            number: UNUSED,
            values: [NOTHING; WIDTH],
            invoked: [OpRef::default(); WIDTH],
            completed: [OpRef::default(); WIDTH],
            runs: Vec::new(),
            acknowledged: Bits::default(),
            count: 0,
            read_committed: Bits::default(),
            read_uncommitted: Bits::default(),
            read_first: Bits::default(),
        }
    }

    /// Empty again, for other offsets.
    pub(super) fn begin(&mut self, number: i64) {
        self.number = number;
        self.values = [NOTHING; WIDTH];
        self.runs.clear();
        self.count = 0;
        (self.acknowledged, self.read_committed) = (Bits::default(), Bits::default());
        (self.read_uncommitted, self.read_first) = (Bits::default(), Bits::default());
    }

    #[inline]
    fn read_in(&self, word: usize) -> u64 {
        self.read_committed[word] | self.read_uncommitted[word]
    }

    /// All values stand where they were acknowledged, and were read.
    #[inline(always)]
    pub(crate) fn is_done(&self) -> bool {
        self.count == WIDTH && (0..WORDS).all(|word| self.read_in(word) == u64::MAX)
    }

    /// An acknowledgement of a value that nobody has seen at an offset so far. `false`, and nothing is done, if the slot is taken.
    #[inline]
    pub(crate) fn acknowledge(&mut self, slot: usize, value: Value, invoked: OpRef, op: OpRef) -> bool {
        let (slot, word, bit) = (slot % WIDTH, slot % WIDTH / 64, 1 << (slot % 64));
        if self.values[slot] != NOTHING {
            return false;
        }
        (self.values[slot], self.invoked[slot], self.completed[slot]) = (value, invoked, op);
        self.acknowledged[word] |= bit;
        self.count += 1;
        true
    }

    /// An acknowledgement of what was read here before. `false`, and nothing is done, if that was something else.
    #[inline]
    pub(crate) fn acknowledge_read(&mut self, slot: usize, value: Value, op: OpRef) -> bool {
        let (slot, word, bit) = (slot % WIDTH, slot % WIDTH / 64, 1 << (slot % 64));
        if self.values[slot] != value || self.read_in(word) & !self.acknowledged[word] & bit == 0 {
            return false;
        }
        self.completed[slot] = op;
        self.acknowledged[word] |= bit;
        self.count += 1;
        true
    }

    /// How many records of an ok poll, from the first on, stand here as they are told, one after the other. Marks them as read. Where nobody
    /// stands, `take` may give the op that sent the value: then it is read before it is acknowledged.
    #[inline]
    pub(crate) fn read_run(
        &mut self,
        records: &[(Offset, Value)],
        poll: PollOp,
        mut take: impl FnMut(Offset, Value) -> Option<OpRef>,
    ) -> usize {
        let Some((first, _)) = records.first() else { return 0 };
        let begin = (*first & (WIDTH as i64 - 1)) as usize;
        let mut end = begin;
        for ((offset, value), there) in records.iter().zip(&mut self.values[begin..]) {
            if offset.wrapping_sub(*first) != (end - begin) as i64 || *value == NOTHING {
                break;
            }
            if there != value {
                let Some(op) = (if *there == NOTHING { take(*offset, *value) } else { None }) else { break };
                (*there, self.invoked[end]) = (*value, op);
                self.read_first[end / 64] |= 1 << (end % 64);
            }
            end += 1;
        }
        if begin < end {
            self.mark(begin, end, poll);
        }
        end - begin
    }

    #[inline]
    fn mark(&mut self, begin: usize, end: usize, poll: PollOp) {
        let (mut from, mut known) = (begin, true);
        while from < end {
            let word = from / 64;
            let to = end.min((word + 1) * 64);
            let run = run_of(from, to);
            known &= self.read_in(word) & run == run;
            match poll.isolation {
                Isolation::Committed => self.read_committed[word] |= run,
                Isolation::Uncommitted => self.read_uncommitted[word] |= run,
            }
            from = to;
        }
        if !known {
            self.runs.push(Run { begin: begin as u16, end: end as u16, op: OpRef::new(poll.op), reader: poll.process });
        }
    }

    /// The first ok op that returned what stands in a slot, and whose that was.
    fn first_read(&self, slot: usize) -> Option<(OpRef, u32)> {
        let run = self.runs.iter().find(|run| (usize::from(run.begin)..usize::from(run.end)).contains(&slot))?;
        Some((run.op, run.reader))
    }

    /// The op that first returned the last value.
    fn last_read(&self) -> OpRef {
        self.first_read(WIDTH - 1).map_or(OpRef::NONE, |(op, _)| op)
    }

    pub(crate) fn holds(&self, value: Value) -> bool {
        value != NOTHING && self.values.contains(&value)
    }

    /// What is known of each value, by offset.
    pub(crate) fn told(&self) -> impl Iterator<Item = Told> {
        (0..WIDTH).filter(|slot| self.values[*slot] != NOTHING).map(|slot| {
            let read = self.first_read(slot);
            let completed = is_set(&self.acknowledged, slot).then(|| self.completed[slot]);
            let read_first = read.filter(|_| is_set(&self.read_first, slot));
            let placed = read_first.map_or(self.completed[slot], |(op, _)| op);
            Told {
                offset: offset_of(self.number, slot),
                value: self.values[slot],
                invoked: self.invoked[slot],
                completed,
                placed,
                read,
                read_committed: is_set(&self.read_committed, slot),
            }
        })
    }

    /// Marks, as a live page has them.
    pub(super) fn marks(&self) -> super::Marks {
        super::Marks { committed: self.acknowledged, seen_committed: self.read_committed, seen_uncommitted: self.read_uncommitted }
    }
}

/// The bits of slots of one word, of which there is one at least.
#[inline]
fn run_of(from: usize, to: usize) -> u64 {
    (u64::MAX << (from % 64)) & (u64::MAX >> (63 - (to - 1) % 64))
}

impl Pages {
    /// The light page of an offset, begun if there is no page; `None` if it is of another kind.
    #[inline]
    pub(crate) fn light(&mut self, offset: Offset) -> Option<(u32, &mut LightPage)> {
        let (number, _) = place(offset);
        let at = match self.at(number) {
            Some(At::Light(at)) => at,
            Some(_) => return None,
            None => self.begin_light(number),
        };
        Some((at, &mut self.light[at as usize]))
    }

    #[cold]
    fn begin_light(&mut self, number: i64) -> u32 {
        let at = self.free_light.pop().unwrap_or_else(|| {
            self.light.push(LightPage::new());
            u32::try_from(self.light.len() - 1).unwrap_or(u32::MAX)
        });
        self.light[at as usize].begin(number);
        self.put_at(number, At::Light(at));
        at
    }

    /// Packs a light page that is done: its number, its values if it is wide, and how far readers got there.
    pub(crate) fn take_light(&mut self, at: u32) -> (i64, Option<[i64; WIDTH]>, Bound) {
        let page = &mut self.light[at as usize];
        let (number, values) = (std::mem::replace(&mut page.number, UNUSED), page.values);
        let last = offset_of(number, WIDTH - 1);
        let bound = Bound { offset: last, value: values[WIDTH - 1], read: page.last_read() };
        self.free_light.push(at);
        let is_wide = self.keep(number, Packed::new(&values, None));
        (number, is_wide.then_some(values), bound)
    }

    /// The number of the light page that holds a value.
    pub(crate) fn light_page_of(&self, value: Value) -> Option<i64> {
        self.light_in_use().find(|(_, page)| page.holds(value)).map(|(number, _)| number)
    }

    /// The numbers of light pages.
    pub(crate) fn light_pages(&self) -> Vec<i64> {
        self.light_in_use().map(|(number, _)| number).collect()
    }

    fn light_in_use(&self) -> impl Iterator<Item = (i64, &LightPage)> {
        self.light.iter().filter(|page| page.number != UNUSED).map(|page| (page.number, page))
    }

    /// Makes a light page live: `id_of` gives each value a place in the table, and says whether it may be packed.
    pub(crate) fn spell(&mut self, number: i64, mut id_of: impl FnMut(Told) -> (Id, bool)) {
        let Some(At::Light(at)) = self.at(number) else { return };
        let page = self.add(number) as usize;
        self.live[page].marks = self.light[at as usize].marks();
        for told in self.light[at as usize].told() {
            let (id, is_done) = id_of(told);
            let live = &mut self.live[page];
            live.ids[place(told.offset).1] = id;
            live.taken += 1;
            live.done += u16::from(is_done);
        }
        self.light[at as usize].number = UNUSED;
        self.free_light.push(at);
    }
}
