//! How many may come in at once. A place is held by a value; dropping it gives the place back,
//! however its holder ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use identity::Identity;

use crate::refusal::Refusal;
use crate::settings::Bounds;

#[derive(Default)]
pub(crate) struct Admission {
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    logins: usize,
    sessions: usize,
    of_identity: HashMap<Identity, usize>,
}

/// The place of a connection that has not logged in.
pub(crate) struct LoginPlace(Arc<Admission>);

/// The place of a session.
pub(crate) struct SessionPlace(Arc<Admission>, Identity);

impl Admission {
    pub(crate) fn login(self: &Arc<Self>, bounds: &Bounds) -> Result<LoginPlace, Refusal> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.logins >= bounds.logins {
            return Err(Refusal::TooManyLogins);
        }
        places.logins += 1;
        Ok(LoginPlace(self.clone()))
    }

    pub(crate) fn session(
        self: &Arc<Self>,
        identity: &Identity,
        bounds: &Bounds,
    ) -> Result<SessionPlace, Refusal> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.sessions >= bounds.sessions {
            return Err(Refusal::TooManySessions);
        }
        let of_identity = places.of_identity.entry(identity.clone()).or_default();
        if *of_identity >= bounds.sessions_per_identity {
            return Err(Refusal::TooManySessionsOfIdentity { bound: bounds.sessions_per_identity });
        }
        *of_identity += 1;
        places.sessions += 1;
        Ok(SessionPlace(self.clone(), identity.clone()))
    }
}

impl Drop for LoginPlace {
    fn drop(&mut self) {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner).logins -= 1;
    }
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.sessions -= 1;
        if let Some(of_identity) = places.of_identity.get_mut(&self.1) {
            *of_identity -= 1;
            if *of_identity == 0 {
                places.of_identity.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_at_the_bound_past_it_and_given_back() {
        let admission = Arc::new(Admission::default());
        let bounds =
            Bounds { logins: 1, sessions: 2, sessions_per_identity: 1, ..Bounds::default() };
        let (a, b, c) = (Identity::local("a"), Identity::local("b"), Identity::local("c"));

        let login = admission.login(&bounds);
        assert!(login.is_ok());
        assert!(matches!(admission.login(&bounds), Err(Refusal::TooManyLogins)));
        drop(login);
        assert!(admission.login(&bounds).is_ok());

        let first = admission.session(&a, &bounds);
        assert!(first.is_ok());
        assert!(matches!(
            admission.session(&a, &bounds),
            Err(Refusal::TooManySessionsOfIdentity { bound: 1 })
        ));
        let second = admission.session(&b, &bounds);
        assert!(second.is_ok());
        assert!(matches!(admission.session(&c, &bounds), Err(Refusal::TooManySessions)));
        drop(first);
        assert!(admission.session(&a, &bounds).is_ok());
        drop(second);
        let places = admission.places.lock().unwrap();
        assert_eq!((places.sessions, places.of_identity.len()), (0, 0));
    }
}
