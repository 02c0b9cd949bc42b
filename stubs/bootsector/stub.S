# The boot sector's code: shows a message when an EFI-only disk is booted by legacy BIOS.
#
# The BIOS loads it to 0000:7C00 and jumps there; nothing else is known about the machine. Machines with UEFI support
# the 80186's instructions (pusha, outsb). README.md has the size budget and the message format.
#
# THEN is defined on the assembler's command line: 0 halt, 1 wait for a key and restart, 2 try the next boot device.

        .code16
        .intel_syntax noprefix

        .equ    HALT, 0
        .equ    KEY_REBOOT, 1
        .equ    NEXT_DEVICE, 2

        # The stack grows down from here; the unpacked message grows up, at most to the code at 7C00.
        .equ    BUFFER, 0x7000
        # High byte of the segment in interrupt vector 10h, and its value if the video BIOS at C000 handles it.
        .equ    VIDEO_VECTOR, 0x0043
        .equ    VIDEO_BIOS, 0xC0
        # In the BIOS data area: first serial port; head and tail of the keyboard buffer; kind of reset.
        .equ    SERIAL_PORT, 0x0400
        .equ    KEYS_HEAD, 0x041A
        .equ    KEYS_TAIL, 0x041C
        .equ    RESET_KIND, 0x0472
        .equ    WARM, 0x1234
        # Line status register, relative to the port, and its bit "transmitter ready".
        .equ    LINE_STATUS, 5
        .equ    CAN_TAKE, 0x20
        # BIOS clock ticks (18.2 per second) before the next device is tried: 5 s.
        .equ    TICKS, 91

        .globl  start
start:
        # CS may be 0000 or 07C0: no jump is absolute, and all data is addressed through DS = 0.
        xor     ax, ax
        xor     cx, cx
        mov     ss, ax
        mov     sp, BUFFER
        mov     ds, ax
        mov     es, ax
        cld
        sti

        # Unpack the message. From here on, AH = 0 and CX = 0 whenever a byte is fetched.
        mov     si, offset message
        mov     di, sp
        # CR, then (with the store below) LF: later line ends are copied from these.
        movsb
        lodsb
literal:
        stosb
next:
        lodsb
        cmp     al, ' '
        jae     literal
        xchg    cx, ax                  # length of the run; AX = 0
        jcxz    unpacked
        lodsb                           # distance of the run
        push    si
        mov     si, di
        sub     si, ax
        rep movsb
        pop     si
        jmp     next

        # Print the message. The first call sets mode 3 (80 x 25, cleared), since AX is 0 here. Some BIOSes clobber BP
        # when they scroll, some AX; all registers are saved.
unpacked:
        mov     al, 3
        mov     si, sp
show:
        pusha
        int     0x10
        popa
        lodsb
        mov     ah, 0x0E
        mov     bx, 7
        cmp     si, di
        jbe     show

        # Also print to the serial port, unless the firmware mirrors the screen to it. Firmware that mirrors (SeaBIOS
        # under -nographic, sgabios) has replaced vector 10h of the video BIOS. Without a screen, nothing mirrors
        # either: get mode (AH = 0F) then leaves AH unchanged instead of returning the number of columns.
        cmp     byte ptr [VIDEO_VECTOR], VIDEO_BIOS
        je      alone
        mov     ah, 0x0F
        int     0x10
        cmp     ah, 0x0F
        jne     then
alone:
        mov     ax, [SERIAL_PORT]
        xchg    bx, ax
        test    bx, bx
        jz      then
        mov     si, sp
send:
        lea     dx, [bx + LINE_STATUS]
        xor     cx, cx
ready:
        in      al, dx
        test    al, CAN_TAKE
        loopz   ready
        # Not ready in 65,536 reads, a tenth of a second: give up. A missing UART reads as all ones.
        jz      then
        mov     dx, bx
        outsb
        cmp     si, di
        jb      send

then:
        .if THEN == KEY_REBOOT
        # Discard keys pressed before the message appeared.
        mov     ax, [KEYS_TAIL]
        mov     [KEYS_HEAD], ax
        xor     ax, ax
        int     0x16
        mov     word ptr [RESET_KIND], WARM
        jmp     0xFFFF:0
        .else
        .if THEN == NEXT_DEVICE
        mov     cx, TICKS
tick:
        hlt
        loop    tick
        int     0x18
        # Some BIOSes return if there is no other device.
        .endif
halt:
        # Interrupts are enabled: Ctrl-Alt-Del works, and the CPU idles.
        hlt
        jmp     halt
        .endif

        # The message follows.
        .globl  message
message:
