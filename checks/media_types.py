"""What schemathesis does not know how to send: it loads this as its hooks."""

import schemathesis

# Lines of text.
schemathesis.serializer.alias("application/x-ndjson", "text/plain")
