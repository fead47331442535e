# A man page from what --help prints: awk -v name=NAME -v version=VERSION -v date=DATE -f manual.awk

function plain(text) {
  gsub(/\\/, "\\e", text)
  gsub(/-/, "\\-", text)
  sub(/^\./, "\\\&.", text)
  return text
}

BEGIN {
  printf ".TH %s 1 \"%s\" \"%s\" \"User Commands\"\n", toupper(name), date, version
  printf ".SH NAME\n%s \\- ActionCable over Server-Sent Events and long polls\n", plain(name)
  print ".SH SYNOPSIS\n.B " plain(name) "\n[options]\n.SH DESCRIPTION"
}

/^Usage:/ { next }
/^Options:/ { part = "options"; print ".SH OPTIONS"; next }
/^Examples:/ { part = "examples"; print ".SH EXAMPLES"; next }
/^Error codes:/ { part = "codes"; print ".SH EXIT STATUS\n.TP\n.B 0\nhelp, version, or ended by a signal"; next }
/^$/ { if (part == "") print ".PP"; next }

part == "options" && /^  -/ {
  rest = substr($0, 3)
  # The column of the explanations, or one space after a long name.
  option = substr(rest, 1, 18)
  sub(/ +$/, "", option)
  print ".TP\n.B " plain(option)
  print plain(substr(rest, 19))
  next
}
part == "examples" { sub(/^ +/, ""); print ".PP\n.nf\n" plain($0) "\n.fi"; next }
part == "codes" { sub(/^ +/, ""); print ".TP\n.B " $1; sub(/^[0-9]+ +/, ""); print plain($0); next }
{ sub(/^ +/, ""); print plain($0) }

END {
  print ".SH FILES\n.TP\n.I /etc/default/" plain(name) "\nthe options of the systemd unit"
  print ".SH ENVIRONMENT\n.TP\n.BR SSL_CERT_FILE \", \" SSL_CERT_DIR"
  print "with wss://: PEM files of the authorities to trust, instead of those that the machine trusts"
}
