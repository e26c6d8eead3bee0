//! Mobile networks and their products: airtime of any amount, and fixed bundles (Click Airtime).
//!
//! | File | |
//! |---|---|
//! | `network` | the published objects |
//! | `draft` | validates import records |
//! | `state` | a network with its bundles, and how records change it |
//! | `lookup` | what imports read and write of networks, and a network as lists show it |
//! | `phone` | phone numbers, and the carriers of their prefixes |

mod draft;
mod lookup;
mod network;
mod phone;
mod state;

pub use draft::{ExchangeRateDraft, NetworkDraft, SingleBundleDraft};
pub use lookup::{ListedNetwork, NetworkChanges, NetworkKeys, NetworkPartitions};
pub use network::{
    Bundle, BundleId, BundleType, CurrencyPair, CustomAirtime, ExchangeRate, Network, NetworkId,
    SmsNotification,
};
pub use phone::{Carrier, Likeness, PhoneNumber};
pub use state::{NetworkChange, NetworkState, StoredBundle};
