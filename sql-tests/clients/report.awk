# Holds the lines of the clients against known_failures.txt (the first file): prints each result, writes the counts to
# `rows`.counts and the table of docs/postgres.md to `rows`. Exits with 1 when something failed.

# client: feature # reason
FILENAME == ARGV[1] {
  if ($0 == "" || /^#/) next
  cut = index($0, " # ")
  if (cut) known[substr($0, 1, cut - 1)] = substr($0, cut + 3)
  else fail("known_failures.txt gives no reason in: " $0)
  next
}

/^# / {
  version = substr($0, 3)
  clients[++client_count] = version
  next
}

/^ok - / {
  take(substr($0, 6))
  if (name in known) {
    fail(name " # it passes, but stands in known_failures.txt: take it off")
  } else {
    print "ok - " name
    passed += 1
  }
  works[version] = joined(works[version], feature)
}

/^not ok - / {
  rest = substr($0, 10)
  cut = index(rest, " # ")
  why = substr(rest, cut + 3)
  take(substr(rest, 1, cut - 1))
  if (name in known) {
    print "known failure - " name " # " known[name] " (it says: " why ")"
    skipped += 1
  } else {
    fail(rest)
  }
  not_yet[version] = joined(not_yet[version], feature)
}

# A list with one more: the types of the matrix stand in one entry.
function joined(list, one) {
  if (one ~ /^types: / && list ~ /types: [^;]*$/) return list ", `" substr(one, 8) "`"
  sub(/^types: .*/, "types: `" substr(one, 8) "`", one)
  return list (list == "" ? "" : "; ") one
}

# A check has run: its name, and the name's parts.
function take(text) {
  name = text
  cut = index(name, ": ")
  feature = substr(name, cut + 2)
  seen[name] = 1
  ran[substr(name, 1, cut - 1)] = 1
}

function fail(what) {
  print "FAILED - " what
  failed += 1
}

END {
  for (name in known) {
    if (!(name in seen) && (substr(name, 1, index(name, ": ") - 1) in ran)) {
      fail(name " # it stands in known_failures.txt, but no check has that name")
    }
  }
  print "| client | what runs | what does not yet |" > rows
  print "|---|---|---|" > rows
  for (n = 1; n <= client_count; n += 1) {
    print "| " clients[n] " | " works[clients[n]] " | " not_yet[clients[n]] " |" > rows
  }
  printf "%d %d %d\n", passed, failed, skipped > (rows ".counts")
  exit failed > 0
}
