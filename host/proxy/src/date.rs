//! `Date`, made once per second and thread (RFC 9110 section 6.6.1).

use std::{
    cell::RefCell,
    time::{Duration, SystemTime},
};

struct Date {
    second: u64,
    text: String,
}

/// Hands over the present date.
pub(crate) fn with<T>(take: impl FnOnce(&str) -> T) -> T {
    thread_local! {
        static DATE: RefCell<Date> = const { RefCell::new(Date { second: 0, text: String::new() }) };
    }
    let second = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    DATE.with_borrow_mut(|date| {
        if date.second != second {
            date.second = second;
            date.text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        }
        take(&date.text)
    })
}
