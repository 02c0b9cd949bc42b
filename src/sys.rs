//! The one file that may say `unsafe`: small, safe wrappers around what neither std nor rustix offers.
