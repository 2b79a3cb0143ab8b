//! Random steps, and a plain model of who is there.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Get(u8),
    Trip(u8),
    Reset(u8),
    Disable(u8),
    Enable(u8),
    Tidy,
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..24u8).prop_map(Step::Get),
        4 => (0..24u8).prop_map(Step::Trip),
        1 => (0..24u8).prop_map(Step::Reset),
        1 => (0..24u8).prop_map(Step::Disable),
        1 => (0..24u8).prop_map(Step::Enable),
        1 => Just(Step::Tidy),
        1 => (0..800u16).prop_map(Step::Wait),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Known {
    key: u8,
    used_ms: u64,
    open: bool,
    overridden: bool,
}

/// The rules, written as they are said: in order of use, oldest first.
#[derive(Default)]
struct Model {
    known: Vec<Known>,
    capacity: usize,
    now_ms: u64,
    full_until_ms: u64,
    evicted: u64,
    overflowed: u64,
}

const IDLE_MS: u64 = 600_000;
// As a manual clock's tick is one millisecond, the wait is told without it.
const WAIT_MS: u64 = 5_000;

impl Model {
    fn is_forgotten(&self, known: &Known) -> bool {
        !known.overridden && known.open && self.now_ms - known.used_ms >= IDLE_MS + WAIT_MS
    }

    fn may_go(&self, known: &Known) -> bool {
        !known.overridden && (!known.open || self.is_forgotten(known))
    }

    /// Whether the key has a breaker of its own afterwards.
    fn get(&mut self, key: u8) -> bool {
        if let Some(place) = self.known.iter().position(|known| known.key == key) {
            let mut known = self.known.remove(place);
            known.used_ms = self.now_ms;
            self.known.push(known);
            return true;
        }
        if self.known.len() >= self.capacity && !self.make_room() {
            self.overflowed += 1;
            return false;
        }
        self.known.push(Known {
            key,
            used_ms: self.now_ms,
            open: false,
            overridden: false,
        });
        true
    }

    fn make_room(&mut self) -> bool {
        if self.now_ms < self.full_until_ms {
            return false;
        }
        let closed = |known: &&Known| !known.overridden && !known.open;
        let mut leavers: Vec<u8> = self.known.iter().filter(closed).map(|k| k.key).collect();
        if leavers.is_empty() {
            let forgotten = self.known.iter().filter(|known| self.is_forgotten(known));
            leavers = forgotten.map(|known| known.key).collect();
        }
        leavers.truncate(self.capacity.div_ceil(8));
        if leavers.is_empty() {
            self.full_until_ms = self.now_ms + 100;
            return false;
        }
        self.evicted += leavers.len() as u64;
        self.known.retain(|known| !leavers.contains(&known.key));
        true
    }

    fn tidy(&mut self) {
        let before = self.known.len();
        let now_ms = self.now_ms;
        let idle = |known: &Known| now_ms - known.used_ms >= IDLE_MS;
        let stay: Vec<_> = self
            .known
            .iter()
            .map(|k| !(idle(k) && self.may_go(k)))
            .collect();
        let mut stay = stay.into_iter();
        self.known.retain(|_| stay.next().unwrap());
        let gone = before - self.known.len();
        if gone > 0 {
            self.full_until_ms = 0;
        }
        self.evicted += gone as u64;
    }
}

proptest! {
    // Breakers with a clock by hand are not used again: they are not given back
    // to the many other tests of this process either.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_family_holds_whom_the_model_holds(
        capacity in 1u32..20,
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let (family, hand) = family(capacity);
        let mut model = Model { capacity: capacity as usize, ..Model::default() };
        let mut failures = 0;
        for step in steps {
            // Never two uses at one instant: their order would be nobody's.
            hand.advance(Duration::from_millis(1));
            model.now_ms += 1;
            match step {
                Step::Get(key) | Step::Trip(key) => {
                    let breaker = family.get(key.to_string());
                    let own = model.get(key);
                    let name = if own { key.to_string() } else { "other".to_owned() };
                    prop_assert_eq!(&*breaker.name(), format!("api:{name}"));
                    let known = model.known.last_mut().filter(|_| own);
                    if let (Step::Trip(_), Some(known)) = (&step, known)
                        && !known.open && !known.overridden
                    {
                        trip(&breaker);
                        known.open = true;
                        failures += 2;
                    }
                }
                Step::Reset(key) | Step::Disable(key) | Step::Enable(key) => {
                    let found = family.find(&format!("api:{key}"));
                    let known = model.known.iter_mut().find(|known| known.key == key);
                    prop_assert_eq!(found.is_some(), known.is_some());
                    let (Some(breaker), Some(known)) = (found, known) else { continue };
                    let by = ByHand::default();
                    match step {
                        Step::Reset(_) => if breaker.reset(&by).is_ok() {
                            known.open = false;
                        }
                        Step::Disable(_) => {
                            breaker.set_override(OverrideKind::Disabled, None, &by).unwrap();
                            known.overridden = true;
                        }
                        _ => if breaker.enable(&by).is_ok() {
                            known.overridden = false;
                        }
                    }
                }
                Step::Tidy => {
                    family.tidy();
                    model.tidy();
                }
                Step::Wait(seconds) => {
                    hand.advance(Duration::from_secs(seconds.into()));
                    model.now_ms += u64::from(seconds) * 1_000;
                }
            }
            for key in 0..24u8 {
                let known = model.known.iter().any(|known| known.key == key);
                prop_assert_eq!(has(&family, &key.to_string()), known, "{}", key);
            }
            let snapshot = family.snapshot();
            prop_assert!(snapshot.members <= capacity);
            prop_assert_eq!(snapshot.evicted, model.evicted);
            prop_assert_eq!(snapshot.overflowed, model.overflowed);
            prop_assert_eq!(snapshot.totals.failure, failures);
        }
    }

    #[test]
    fn any_text_is_a_key_and_different_keys_have_different_breakers(
        keys in proptest::collection::hash_set(any::<String>(), 1..20),
    ) {
        let (family, _hand) = family(64);
        for key in &keys {
            trip(&family.get(key));
            let name = family.get(key).name();
            prop_assert!(name.len() <= "api:".len() + 128);
            prop_assert_eq!(family.find(&name).unwrap().name(), name);
        }
        prop_assert_eq!(family.snapshot().open as usize, keys.len());
    }
}
