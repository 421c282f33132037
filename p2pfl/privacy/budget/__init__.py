"""An owner's budget for one data set, over all groups that it joins: see `ledger` and `book`."""
