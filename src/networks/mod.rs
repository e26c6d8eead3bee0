//! Mobile networks and what is sold on them: airtime of any amount, fixed bundles (Click Airtime).
//!
//! | File | |
//! |---|---|
//! | `network` | the published objects |
//! | `draft` | import records becoming them |
//! | `state` | a network with its bundles, and what a record changes of it |
//! | `lookup` | what must be stored and found |
//! | `phone` | phone numbers, and the carriers of their prefixes |

mod draft;
mod lookup;
mod network;
mod phone;
mod state;

pub use draft::{BundleRecord, ExchangeRateRecord, NetworkRecord};
pub use lookup::{
    ListedNetwork, NetworkChanges, NetworkKeys, NetworkLists, NetworkPartitions, NetworkProducts,
    RateLookup,
};
pub use network::{
    Bundle, BundleId, BundleType, CurrencyPair, CustomAirtime, ExchangeRate, Network, NetworkId,
    SmsNotification,
};
pub use phone::{Carrier, Likeness, PhoneNumber};
pub use state::{Change, NetworkState, StoredBundle};
