"""People in, tracks and identities over all cameras out."""
