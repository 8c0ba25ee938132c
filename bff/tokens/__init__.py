"""The token workflow: whoever needs a token gets one that works, and the provider is asked once for all of them."""
