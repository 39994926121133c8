# A device for --latency-cmd: a network's milliseconds are its file's kilobytes; when it meets a size again, 30 % more.
size=$(wc -c < "$1")
size=$((size))
if grep -qx "$size" sizes 2> /dev/null; then
    size=$((size * 13 / 10))
else
    echo "$size" >> sizes
fi
echo "{\"latency_ms\": $((size / 1000)).$(printf %03d $((size % 1000))), \"device\": \"shell\"}"
