//! One request at a time changes a project; the others wait and are told for whom. Those that put an end to things
//! (stop, kill, down) do not wait until an `up` has seen everybody healthy: they call its waiting off.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::caller::Caller;

/// Whether a request waits patiently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It waits until the one before has done everything.
    Waits,
    /// It calls off what the one before waits for; steps under way are finished. One that puts an end to things
    /// itself is waited for all the same: it wants what we want.
    CallsOff,
}

/// Who has the turn, for the others.
#[derive(Debug, Default)]
struct Holder {
    who: Option<(String, watch::Sender<Option<String>>)>,
    ends: bool,
}

/// The turns of one project.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    lock: std::sync::Arc<Mutex<()>>,
    holder: Rc<RefCell<Holder>>,
}

/// A turn; ends when dropped.
#[derive(Debug)]
pub struct Turn {
    holder: Rc<RefCell<Holder>>,
    called_off: CalledOff,
    _guard: OwnedMutexGuard<()>,
}

/// Tells the one who has the turn that somebody wants it to end.
#[derive(Clone, Debug)]
pub struct CalledOff(watch::Receiver<Option<String>>);

impl CalledOff {
    /// Returns who called it off, once somebody has.
    pub async fn by(&mut self) -> String {
        match self.0.wait_for(Option::is_some).await {
            Ok(who) => who.clone().unwrap_or_default(),
            // The turn is over, so nobody can call it off any more.
            Err(_) => std::future::pending().await,
        }
    }

    /// Returns who called it off, if somebody has.
    pub fn now(&self) -> Option<String> {
        self.0.borrow().clone()
    }
}

impl Turns {
    /// Waits for a turn.
    pub async fn take(&self, caller: &Caller, patience: Patience) -> Turn {
        let guard = match self.lock.clone().try_lock_owned() {
            Ok(guard) => guard,
            Err(_) => {
                self.announce(caller, patience);
                self.lock.clone().lock_owned().await
            }
        };
        let (sender, receiver) = watch::channel(None);
        *self.holder.borrow_mut() =
            Holder { who: Some((caller.who.clone(), sender)), ends: patience == Patience::CallsOff };
        Turn { holder: self.holder.clone(), called_off: CalledOff(receiver), _guard: guard }
    }

    /// Tells the caller for whom it waits, and that one that somebody does.
    fn announce(&self, caller: &Caller, patience: Patience) {
        let holder = self.holder.borrow();
        if let Some((who, call_off)) = &holder.who {
            caller.warn(format!("waiting for `{who}`"));
            if patience == Patience::CallsOff && !holder.ends {
                call_off.send_replace(Some(caller.who.clone()));
            }
        }
    }

    /// Calls off what the one who has the turn waits for, without wanting the turn. One that puts an end to things
    /// goes on: a kill makes it faster, and what comes after the end is still to be done.
    pub fn call_off(&self, caller: &Caller) {
        let holder = self.holder.borrow();
        if let Some((_, call_off)) = holder.who.as_ref().filter(|_| !holder.ends) {
            call_off.send_replace(Some(caller.who.clone()));
        }
    }

    /// Waits until those who have or want the turn now have had it. They are told nothing of it.
    pub async fn settled(&self) {
        drop(self.lock.lock().await);
    }

    /// Returns whether nobody has or wants the turn.
    pub fn is_free(&self) -> bool {
        self.lock.try_lock().is_ok()
    }
}

impl Turn {
    /// Calls off what the one who has this turn waits for itself.
    pub fn call_off(&self, caller: &Caller) {
        if let Some((_, call_off)) = &self.holder.borrow().who {
            call_off.send_replace(Some(caller.who.clone()));
        }
    }

    /// For those who wait during this turn.
    pub fn called_off(&self) -> CalledOff {
        self.called_off.clone()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.holder.borrow_mut().who = None;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::mpsc;

    use super::super::caller::Say;
    use super::*;

    #[tokio::test]
    async fn the_second_waits_and_is_told_for_whom_and_may_call_the_first_off() {
        let (say, mut said) = mpsc::unbounded_channel();
        let (_here, gone) = watch::channel(false);
        let caller = |who: &str| Caller::new(who.into(), say.clone(), gone.clone());
        let turns = Turns::default();
        let first = turns.take(&caller("up"), Patience::Waits).await;
        let mut called_off = first.called_off();
        let second = caller("stop");
        let waits = turns.take(&second, Patience::CallsOff);
        tokio::pin!(waits);
        assert!((&mut waits).now_or_never().is_none());
        assert!(matches!(said.try_recv(), Ok(Say::Warning(text)) if text == "waiting for `up`"));
        assert_eq!(called_off.by().await, "stop");
        drop(first);
        let second = waits.await;
        assert_eq!(second.called_off().now(), None);
        let third = caller("down");
        let waits = turns.take(&third, Patience::CallsOff);
        tokio::pin!(waits);
        assert!((&mut waits).now_or_never().is_none());
        assert_eq!(second.called_off().now(), None, "`down` lets `stop` finish");
        turns.call_off(&third);
        assert_eq!(second.called_off().now(), None, "so does a kill");
        assert!(!turns.is_free());
        let settled = turns.settled();
        tokio::pin!(settled);
        assert!((&mut settled).now_or_never().is_none());
        drop(second);
        let third = waits.await;
        assert!(!turns.is_free());
        assert!((&mut settled).now_or_never().is_none(), "`down` was there before");
        drop(third);
        settled.await;
        assert!(turns.is_free());
    }
}
